//! Tests of reading a batch: many replies as one array.

use crate::transport::fault::Limits;
use crate::transport::reader::{Progress, Reader};
use crate::transport::reply::{Kind, Reply};

/// Four replies, with pushes and attributes before, between and behind their beginnings.
const WIRE: &[u8] =
    b">2\r\n$1\r\na\r\n*1\r\n:1\r\n+OK\r\n|1\r\n$1\r\nk\r\n:7\r\n$5\r\nhello\r\n>0\r\n\
    *2\r\n:1\r\n*1\r\n$1\r\nx\r\n>1\r\n+p\r\n-ERR no\r\n";

fn feed(reader: &mut Reader, reply: &mut Reply, bytes: &[u8]) -> Progress {
    let mut bytes = bytes;
    while !bytes.is_empty() {
        let fed = reader
            .fill(reply, |to, max| {
                let n = max.min(bytes.len());
                to.extend_from_slice(&bytes[..n]);
                Ok(n)
            })
            .unwrap();
        bytes = &bytes[fed..];
    }
    reader.advance(reply).unwrap()
}

fn is_all_of_it(reply: &Reply) {
    let all = reply.children(reply.root());
    let kinds: Vec<Kind> = all.iter().map(|entry| entry.kind).collect();
    assert_eq!(kinds, [Kind::Status, Kind::Bytes, Kind::Array, Kind::Error]);
    assert_eq!(reply.bytes_of(&all[1]), b"hello");
    assert_eq!(reply.bytes_of(&all[3]), b"ERR no");
    let inner = reply.children(&all[2]);
    assert_eq!(reply.bytes_of(&reply.children(&inner[1])[0]), b"x");
}

#[test]
fn a_batch_is_one_array_however_it_arrives_and_the_reader_serves_on() {
    for split in 0..WIRE.len() {
        let (mut reader, mut reply) = (Reader::new(Limits::default()), Reply::new());
        for _ in 0..2 {
            reader.begin_batch(4, &mut reply);
            assert_eq!(
                feed(&mut reader, &mut reply, &WIRE[..split]),
                Progress::More
            );
            assert_eq!(
                feed(&mut reader, &mut reply, &WIRE[split..]),
                Progress::Reply
            );
            is_all_of_it(&reply);
        }
        assert_eq!(feed(&mut reader, &mut reply, b":5\r\n"), Progress::Reply);
        assert_eq!(reply.integer(), Some(5));
    }
}

#[test]
fn a_batch_that_is_given_up_holds_what_was_complete() {
    let ends = [
        (0, 0),
        (23, 0),
        (24, 1),
        (49, 1),
        (60, 2),
        (WIRE.len() - 1, 3),
    ];
    for (cut, whole) in ends {
        let (mut reader, mut reply) = (Reader::new(Limits::default()), Reply::new());
        reader.begin_batch(4, &mut reply);
        feed(&mut reader, &mut reply, &WIRE[..cut]);
        assert_eq!(reader.abandon_batch(&mut reply), whole, "cut at {cut}");
        assert_eq!(reply.children(reply.root()).len(), whole);
        assert!(reader.advance(&mut reply).is_err());
    }
}

#[test]
fn the_caps_are_for_each_reply_of_a_batch() {
    let limits = Limits {
        max_bytes: 10,
        ..Limits::default()
    };
    let (mut reader, mut reply) = (Reader::new(limits), Reply::new());
    reader.begin_batch(5, &mut reply);
    for i in 0..5 {
        let progress = feed(
            &mut reader,
            &mut reply,
            b"*2\r\n$4\r\nabcd\r\n$4\r\nefgh\r\n",
        );
        assert_eq!(progress == Progress::Reply, i == 4);
    }
    reader.begin_batch(2, &mut reply);
    let mut bytes = &b"*3\r\n$4\r\nabcd\r\n$4\r\nefgh\r\n$4\r\nijkl\r\n"[..];
    reader
        .fill(&mut reply, |to, _| {
            to.extend_from_slice(bytes);
            Ok(std::mem::take(&mut bytes).len())
        })
        .unwrap();
    assert!(reader.advance(&mut reply).is_err());
}

#[test]
fn a_read_that_was_full_is_followed_by_a_larger_one() {
    let (mut reader, mut reply) = (Reader::new(Limits::default()), Reply::new());
    reader.begin_batch(1_000_000, &mut reply);
    let mut wire = b":1\r\n".iter().cycle();
    let mut asked = Vec::new();
    for full in [true, true, false, true] {
        reader
            .fill(&mut reply, |to, max| {
                asked.push(max);
                let n = if full { max } else { 6 };
                to.extend(wire.by_ref().take(n));
                Ok(n)
            })
            .unwrap();
        assert!(reader.advance(&mut reply).unwrap() == Progress::More);
    }
    // The third found room enough, and left two bytes there.
    let (buffer, large) = (16 << 10, 64 << 10);
    assert_eq!(asked, [buffer, large, large, large - 2]);
}

#[test]
fn what_is_sure_to_come_is_the_shortest_of_what_may() {
    let (mut reader, mut reply) = (Reader::new(Limits::default()), Reply::new());
    assert_eq!(reader.to_come(), 0);
    reader.begin_batch(100, &mut reply);
    assert_eq!(reader.to_come(), 99 * 3);
    // Nothing is known of the one under way, nor of what stands in it.
    assert!(feed(&mut reader, &mut reply, b"_\r\n*50\r\n_\r\n_") == Progress::More);
    assert_eq!(reader.to_come(), 98 * 3);
    let wire = b"\r\n".iter().chain(b"_\r\n".iter().cycle().take(3 * 146));
    let wire: Vec<u8> = wire.copied().collect();
    assert!(feed(&mut reader, &mut reply, &wire[..wire.len() - 1]) == Progress::More);
    assert_eq!(reader.to_come(), 0);
    assert!(feed(&mut reader, &mut reply, b"\n") == Progress::Reply);
    assert_eq!(reader.to_come(), 0);
}
