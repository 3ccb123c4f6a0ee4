//! The reader against what no server should send, on a small stack.

use super::fault::{ELEMENT, FEW, Fault, Limits};
use super::oracle::{Rng, read};
use super::reader::{Progress, Reader};
use super::reply::{Kind, Reply};

const SMALL: Limits = Limits {
    max_bytes: 100,
    max_elements: 10,
    max_line: 50,
    max_depth: 32,
};

fn on_a_small_stack(work: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new()
        .stack_size(256 << 10)
        .spawn(work)
        .unwrap();
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// What becomes of a stream: F a protocol fault, L too large, M more needed, R a whole number of replies.
fn fate(wire: &[u8], limits: Limits) -> char {
    let whole = read(wire, limits, || usize::MAX);
    // Converting must bear whatever was understood.
    for (_, reply) in &whole.replies {
        reply.to_value().unwrap();
    }
    let fate = |fault: &Option<Fault>, under_way| match fault {
        Some(Fault::Protocol(_)) => 'F',
        Some(Fault::TooLarge(_)) => 'L',
        None if under_way => 'M',
        None => 'R',
    };
    let mut found = vec![fate(&whole.fault, whole.reader.under_way())];
    if wire.len() < 5000 {
        let drip = read(wire, limits, || 1);
        assert_eq!(
            drip.replies.len(),
            whole.replies.len(),
            "{}",
            wire.escape_ascii()
        );
        found.push(fate(&drip.fault, drip.reader.under_way()));
    }
    assert!(
        found.iter().all(|f| *f == found[0]),
        "{found:?} {}",
        wire.escape_ascii()
    );
    found[0]
}

#[track_caller]
fn expect(fates: &str, wires: &[&[u8]]) {
    for wire in wires {
        let start = &wire[..wire.len().min(60)];
        let found = fate(wire, Limits::default());
        assert!(
            fates.contains(found),
            "{found}, not {fates}: {}",
            start.escape_ascii()
        );
    }
}

fn nested(levels: usize, header: &str, leaf: &str) -> Vec<u8> {
    [header.repeat(levels).as_bytes(), leaf.as_bytes()].concat()
}

#[test]
fn depth_is_capped_and_needs_no_stack() {
    on_a_small_stack(|| {
        for header in ["*1\r\n", "~1\r\n", "%1\r\n$1\r\nk\r\n", "|1\r\n$1\r\nk\r\n"] {
            expect(
                "F",
                &[
                    &nested(33, header, "$1\r\nx\r\n"),
                    &nested(1_000_000, header, ""),
                ],
            );
        }
        expect(
            "F",
            &[&nested(33, "*1\r\n", ""), &nested(32, "*1\r\n", "*0\r\n")],
        );
        for leaf in [
            "-ERR no\r\n",
            "=8\r\ntxt:text\r\n",
            "$1\r\nx\r\n",
            ",1.5\r\n",
        ] {
            expect("R", &[&nested(32, "*1\r\n", leaf)]);
            expect("R", &[&nested(32, "%1\r\n+k\r\n", leaf)]);
        }
        let limits = Limits {
            max_depth: 1_000_000,
            ..Limits::default()
        };
        assert_eq!(fate(&nested(33, "*1\r\n", "+x\r\n"), limits), 'F');
    });
}

#[test]
fn claimed_lengths_are_checked() {
    on_a_small_stack(|| {
        let large: [u64; 7] = [
            1 << 31,
            (1 << 31) - 1,
            1 << 32,
            (1 << 32) - 1,
            1 << 62,
            (1 << 63) - 1,
            (512 << 20) + 1,
        ];
        for sigil in ["$", "=", "!", "*", "~", "%", "|", ">"] {
            for n in large {
                expect("L", &[format!("{sigil}{n}\r\n").as_bytes()]);
                let inside = if sigil == ">" { "F" } else { "L" };
                expect(
                    inside,
                    &[format!("*2\r\n:1\r\n*1\r\n{sigil}{n}\r\n").as_bytes()],
                );
            }
            for n in [
                "-2",
                "-9223372036854775808",
                "9223372036854775808",
                "18446744073709551616",
            ] {
                expect("F", &[format!("{sigil}{n}\r\nabc").as_bytes()]);
            }
            for n in [
                "", "-", "+1", "-0", "1x", " 1", "1 ", "0x1", "?", "1e3", "--1", "-1 ",
            ] {
                expect("F", &[format!("{sigil}{n}\r\nabc").as_bytes()]);
            }
            let minus_one = format!("{sigil}-1\r\n");
            expect(
                if "$*".contains(sigil) { "R" } else { "F" },
                &[minus_one.as_bytes()],
            );
        }
        expect(
            "R",
            &[
                b"$0\r\n\r\n",
                b"*0\r\n",
                b"~0\r\n",
                b"%0\r\n",
                b">0\r\n",
                b"!0\r\n\r\n",
            ],
        );
        expect(
            "R",
            &[
                b"|0\r\n+x\r\n",
                b"=4\r\ntxt:\r\n",
                b"$00000000003\r\nabc\r\n",
            ],
        );
        expect(
            "M",
            &[
                b"|0\r\n",
                b"|1\r\n+k\r\n+v\r\n",
                b"$536870912\r\nx",
                b"*16777216\r\n",
            ],
        );
        expect(
            "F",
            &[
                b"=0\r\n\r\n",
                b"=3\r\ntxt\r\n",
                b"=5\r\ntxtx:\r\n",
                b"=5\r\nt:t:x\r\n",
            ],
        );
    });
}

#[test]
fn lines_end_as_they_should_and_in_time() {
    on_a_small_stack(|| {
        let long = "x".repeat(70_000);
        for sigil in "+-:_#,($*~%|>=!".chars() {
            expect("F", &[format!("{sigil}{long}").as_bytes()]);
            expect("F", &[format!("{sigil}{long}\r\n").as_bytes()]);
            expect(
                "F",
                &[
                    format!("{sigil}1\n").as_bytes(),
                    format!("{sigil}\n\r\n").as_bytes(),
                ],
            );
            expect("M", &[format!("{sigil}1\r").as_bytes()]);
        }
        for line in ["+", "-ERR ", "(-"] {
            let most = "9".repeat((64 << 10) + 1 - line.len());
            expect("R", &[format!("{line}{most}\r\n").as_bytes()]);
            expect(
                "M",
                &[
                    format!("{line}{most}").as_bytes(),
                    format!("{line}{most}\r").as_bytes(),
                ],
            );
            expect("F", &[format!("{line}{most}9\r\n").as_bytes()]);
            expect("F", &[format!("{line}{most}99").as_bytes()]);
        }
        let zeros = [b'0'; 70_000];
        expect(
            "F",
            &[
                &[b":", &zeros[..], b"\r\n"].concat(),
                &zeros,
                &[b'$'; 70_000],
            ],
        );
    });
}

#[test]
fn only_the_known_types_begin_a_reply() {
    on_a_small_stack(|| {
        for byte in 0..=255u8 {
            if b"+-:$*_#,(!=%~>|".contains(&byte) {
                continue;
            }
            expect("F", &[&[byte], &[byte, b'1', b'\r', b'\n'], b"\n", b"\r\n"]);
            expect("F", &[&[b"*2\r\n:1\r\n", &[byte][..], b"\r\n"].concat()]);
        }
        expect(
            "F",
            &[
                b"*1\r\n>1\r\n+x\r\n",
                b"%1\r\n+k\r\n>0\r\n",
                b"|1\r\n+k\r\n>0\r\n",
            ],
        );
        expect("R", &[b"|1\r\n+k\r\n+v\r\n>1\r\n+x\r\n", b">1\r\n:5\r\n"]);
    });
}

#[test]
fn scalars_take_no_garbage() {
    on_a_small_stack(|| {
        expect(
            "F",
            &[
                b":\r\n",
                b":1 \r\n",
                b":x\r\n",
                b":9223372036854775808\r\n",
                b":1.5\r\n",
            ],
        );
        expect(
            "F",
            &[
                b"_x\r\n",
                b"#\r\n",
                b"#true\r\n",
                b"#T\r\n",
                b",\r\n",
                b",x\r\n",
                b", 1\r\n",
            ],
        );
        expect(
            "F",
            &[b"(\r\n", b"(-\r\n", b"(1.5\r\n", b"(1 \r\n", b",\xff\r\n"],
        );
        expect(
            "F",
            &[
                b"$5\r\nabcdefgh",
                b"$3\r\nabc\n\r",
                b"$3\r\nabc\rx",
                b"$0\r\nxx",
                b"!1\r\nabc",
            ],
        );
        expect(
            "M",
            &[
                b"$5\r\nabc",
                b"$3\r\nabc",
                b"$3\r\nabc\r",
                b"*2\r\n:1\r\n",
                b"$",
                b"*1\r\n",
            ],
        );
        expect("F", &[&[b"$20000\r\n", &[b'x'; 20_003][..]].concat()]);
    });
}

#[test]
fn texts_that_are_not_utf_8_close_nothing() {
    on_a_small_stack(|| {
        let wires: [&[u8]; 5] = [
            b"+\xff\xfe\r\n",
            b"-\xff \xfe\r\n",
            b"=6\r\ntxt:\xff\xfe\r\n",
            b"!1\r\n\xff\r\n",
            b">1\r\n+\xff\r\n",
        ];
        expect("R", &wires);
        expect(
            "R",
            &[b"=4\r\n\xff\xff\xff:\r\n", b"*2\r\n-\xc3\r\n+\xc3\r\n"],
        );
    });
}

#[test]
fn the_caps_hold_for_one_value_and_for_many() {
    let fates = |wire: String| fate(wire.as_bytes(), SMALL);
    let bulk = |n: usize| format!("${n}\r\n{}\r\n", "x".repeat(n));
    assert_eq!(fates(bulk(100)), 'R');
    assert_eq!(fates(bulk(101)), 'L');
    assert_eq!(fates(format!("*2\r\n{}{}", bulk(60), bulk(40))), 'R');
    assert_eq!(fates(format!("*2\r\n{}{}", bulk(60), bulk(41))), 'L');
    assert_eq!(fates(format!("*2\r\n{}{}", bulk(60), "$41\r\n")), 'L');
    assert_eq!(
        fates(format!("*3\r\n+{0}\r\n+{0}\r\n+xy\r\n", "x".repeat(50))),
        'L'
    );
    assert_eq!(fates(format!("+{}\r\n", "x".repeat(50))), 'R');
    assert_eq!(fates(format!("+{}\r\n", "x".repeat(51))), 'F');
    // What an attribute says counts too, though it is not kept.
    assert_eq!(fates(format!("|1\r\n{}+v\r\n{}", bulk(60), bulk(41))), 'L');
    // The next reply begins at nothing.
    assert_eq!(fates(bulk(60).repeat(5)), 'R');
    assert_eq!(fates(format!("*2\r\n{}:1\r\n", bulk(60)).repeat(9)), 'R');
    assert_eq!(fates(format!("*10\r\n{}", ":1\r\n".repeat(10))), 'R');
    assert_eq!(fates("*11\r\n".to_owned()), 'L');
    assert_eq!(fates("%6\r\n".to_owned()), 'L');
    assert_eq!(
        fates(format!("*3\r\n{}", "*3\r\n:1\r\n:1\r\n:1\r\n".repeat(3))),
        'L'
    );
    assert_eq!(fates("|0\r\n".repeat(20)), 'L');
}

#[test]
fn many_elements_count_for_the_memory_that_they_take() {
    let limits = Limits {
        max_bytes: 1_000 * ELEMENT,
        ..Limits::default()
    };
    let of = |elements: usize| {
        let header = format!("*{elements}\r\n");
        let wire = [header.as_bytes(), &b":1\r\n".repeat(elements)].concat();
        fate(&wire, limits)
    };
    // The array itself is one of them.
    assert_eq!(of(FEW - 1 + 1_000), 'R');
    assert_eq!(of(FEW - 1 + 1_001), 'L');
}

#[test]
fn announced_elements_take_no_memory() {
    let wire = nested(32, "*1000000\r\n", ":1\r\n:2\r\n");
    let found = read(&wire, Limits::default(), || 10);
    assert!(found.fault.is_none() && found.reader.under_way());
    assert!(
        found.reader.reserved() < 64 << 10,
        "{}",
        found.reader.reserved()
    );
    assert_eq!(found.rest.entries.capacity(), 0);
    assert_eq!(found.rest.bytes.capacity(), 0);
}

#[test]
fn an_unreadable_stream_stays_unreadable() {
    let mut found = read(b"$1\r\nabc", Limits::default(), || 7);
    assert!(found.fault.is_some());
    let filled = found.reader.fill(&mut found.rest, |out, _| {
        out.extend_from_slice(b"+OK\r\n");
        Ok(5)
    });
    assert!(filled.is_ok());
    assert!(found.reader.advance(&mut found.rest).is_err());
}

#[test]
fn a_big_string_is_read_where_it_stays() {
    let wire = [b"$1000000\r\n", &[b'x'; 1_000_000][..], b"\r\n+next\r\n"].concat();
    let mut sizes = Vec::new();
    let found = read(&wire, Limits::default(), || {
        sizes.push(());
        usize::MAX
    });
    // The buffer's first fill, all the rest of the string with its line end, and what follows.
    assert_eq!(sizes.len(), 3);
    assert_eq!(found.replies.len(), 2);
    assert!(found.reader.reserved() < 64 << 10);

    let mut fills = 0;
    read(&wire[..wire.len() - 7], Limits::default(), || {
        fills += 1;
        usize::MAX
    });
    assert_eq!(fills, 2);
    // The line end may come with the string, or be torn.
    for cut in 0..5 {
        let mut sizes = [1000, 999_010 + cut - 2].into_iter();
        let torn = read(&wire, Limits::default(), || {
            sizes.next().unwrap_or(usize::MAX)
        });
        assert_eq!(torn.replies.len(), 2, "{cut}");
        assert_eq!(torn.replies[0].1.bytes, found.replies[0].1.bytes, "{cut}");
    }

    let mut reader = Reader::new(Limits::default());
    let (mut reply, mut left, mut place) = (Reply::new(), &wire[..], None);
    while reader.advance(&mut reply) == Ok(Progress::More) {
        if place.is_none() && reply.bytes.capacity() > 0 {
            place = Some((reply.bytes.as_ptr(), reply.bytes.capacity()));
        }
        let filled = reader.fill(&mut reply, |out, max| {
            let (now, later) = left.split_at(max.min(1460).min(left.len()));
            out.extend_from_slice(now);
            left = later;
            Ok(now.len())
        });
        assert!(filled.is_ok());
    }
    reply.bytes.push(0);
    assert_eq!(place, Some((reply.bytes.as_ptr(), 1_000_002)));
    reply.bytes.pop();
    let text = reply.into_bytes().unwrap();
    assert!(text.len() == 1_000_000 && text.iter().all(|&b| b == b'x'));
}

#[test]
fn a_reply_that_is_reused_gives_big_memory_back() {
    let wire = [
        b"*100001\r\n".to_vec(),
        b":1\r\n".repeat(100_000),
        vec![b'$', b'9'],
        b"\r\nabcdefghi\r\n".to_vec(),
    ];
    let mut found = read(&wire.concat(), Limits::default(), || usize::MAX);
    assert!(
        found.reader.reserved() < 128 << 10,
        "{}",
        found.reader.reserved()
    );
    let inside = read(
        &[b"*1\r\n".to_vec(), wire.concat()].concat(),
        Limits::default(),
        || 5000,
    );
    assert!(
        inside.reader.reserved() < 128 << 10,
        "{}",
        inside.reader.reserved()
    );
    let reply = &mut found.rest;
    assert_eq!((reply.kind(), reply.root().len), (Kind::Array, 100_001));
    assert!(reply.entries.capacity() > 100_000);
    reply.clear();
    reply.trim(64 << 10);
    assert!(reply.entries.capacity() * 24 <= 64 << 10);
}

#[test]
fn random_bytes_never_panic() {
    on_a_small_stack(|| {
        let alphabet = b"+-:$*_#,(!=%~>|\r\n\r\n\r\n0123-1txt:OK";
        for seed in 0..20_000 {
            let mut rng = Rng::new(seed);
            let len = 1 + rng.below(60);
            let plain = seed % 2 == 0;
            let wire: Vec<u8> = (0..len)
                .map(|_| {
                    if plain {
                        rng.next() as u8
                    } else {
                        alphabet[rng.below(alphabet.len())]
                    }
                })
                .collect();
            fate(
                &wire,
                if seed % 3 == 0 {
                    SMALL
                } else {
                    Limits::default()
                },
            );
        }
    });
}
