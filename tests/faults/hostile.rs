//! Peers that say what no server should: the call ends with an error that names what was wrong, by its deadline, the
//! memory that it takes is bounded by `max_reply_bytes`, and the next call is right.

use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use redkeep::redis::Value;
use redkeep::{Config, ErrorKind, Manager};

use super::case::{BUSY, Baseline, Case, whole};
use crate::support::{Answer, Dice, PATIENCE, Peer, figure, forget_peak, peak, polite, wait_until};

/// For what never ends.
const TIME: Duration = Duration::from_millis(300);
const MIB: usize = 1 << 20;
/// Memory is bounded by twice the cap and this.
const BESIDE: usize = 16 * MIB;

/// What it says, and as what that is told.
struct Speech {
    name: &'static str,
    answer: Answer,
    ends: &'static [ErrorKind],
    /// Whether it is a reply, after all.
    fits: Option<bool>,
}

/// Beyond so many elements, each counts as so many bytes.
const FEW: usize = 64 << 10;
const ELEMENT: usize = 80;

/// As many of these as a reply may have, which count as so many bytes each.
fn all_that_fit(cap: usize, one: &str, bytes: usize) -> Answer {
    let count = match cap.checked_div(bytes) {
        Some(few) if few < FEW => few,
        _ => (cap + FEW * ELEMENT) / (ELEMENT + bytes) - 1,
    };
    Answer::Bytes(format!("*{count}\r\n{}", one.repeat(count)).into())
}

fn speeches(cap: usize) -> Vec<Speech> {
    use ErrorKind::{Protocol, ReplyTooLarge, Timeout};
    let endless = |head: &str, again: &str| Answer::Endless(head.into(), again.into());
    let speech = |name, answer, ends| Speech {
        name,
        answer,
        ends,
        fits: Some(false),
    };
    let mut all = vec![
        speech(
            "nesting without end",
            endless("", "*1\r\n"),
            &[Protocol][..],
        ),
        speech("sets within sets", endless("", "~1\r\n"), &[Protocol]),
        speech("maps within maps", endless("", "%1\r\n+k\r\n"), &[Protocol]),
        speech(
            "a string of 4 EiB",
            endless("$4611686018427387904\r\n", "x"),
            &[ReplyTooLarge],
        ),
        speech(
            "a string just beyond the cap",
            endless(&format!("${}\r\n", cap + 1), "x"),
            &[ReplyTooLarge],
        ),
        speech("a length below zero", endless("$-2\r\n", "x"), &[Protocol]),
        speech("a length of no number", endless("$x\r\n", "x"), &[Protocol]),
        speech(
            "2^31 elements",
            endless("*2147483648\r\n", ":1\r\n"),
            &[ReplyTooLarge],
        ),
        speech(
            "sixteen million numbers",
            endless("*16777216\r\n", ":1\r\n"),
            &[ReplyTooLarge],
        ),
        speech(
            "sixteen million empty arrays",
            endless("*16777216\r\n", "*0\r\n"),
            &[ReplyTooLarge],
        ),
        speech(
            "sixteen million empty strings",
            endless("*16777216\r\n", "$0\r\n\r\n"),
            &[ReplyTooLarge],
        ),
        speech(
            "sixteen million nulls",
            endless("~16777216\r\n", "_\r\n"),
            &[ReplyTooLarge],
        ),
        speech(
            "many texts",
            endless("*16777216\r\n", &format!("+{}\r\n", "x".repeat(50))),
            &[ReplyTooLarge],
        ),
        speech("a line without end", endless("+", "x"), &[Protocol]),
        speech("an error without end", endless("-ERR ", "x"), &[Protocol]),
        speech("a number without end", endless(":", "0"), &[Protocol]),
        speech("a length without end", endless("$", "1"), &[Protocol]),
        speech(
            "attributes without end",
            endless("", "|1\r\n+k\r\n+v\r\n"),
            &[ReplyTooLarge],
        ),
        speech(
            "pushes without end",
            endless("", ">2\r\n$4\r\nnews\r\n$1\r\nx\r\n"),
            // In a pipeline they count for the reply that they come before.
            &[Timeout, ReplyTooLarge],
        ),
        speech(
            "a push without end",
            endless(">16777216\r\n", ":1\r\n"),
            &[ReplyTooLarge],
        ),
        speech(
            "a push inside a reply",
            endless("*2\r\n", ">1\r\n+x\r\n"),
            &[Protocol],
        ),
        speech("what is no type", endless("?", "x"), &[Protocol]),
        speech(
            "half a string, and silence",
            Answer::Bytes(b"$10\r\nabc".to_vec()),
            &[Timeout],
        ),
    ];
    let alphabet = b"+-:$*_#,(!=%~>|\r\n\r\n\r\n0123-1txt:OK";
    for seed in 0..if whole() { 200 } else { 20 } {
        let mut dice = Dice(seed);
        let byte = |dice: &mut Dice| match seed % 2 {
            0 => dice.roll() as u8,
            _ => alphabet[dice.below(alphabet.len() as u64) as usize],
        };
        let bytes: Vec<u8> = (0..1 + dice.below(200)).map(|_| byte(&mut dice)).collect();
        // May be a reply by chance; or the beginning of one.
        all.push(Speech {
            fits: None,
            ..speech("random bytes", Answer::Last(bytes), &[])
        });
    }
    for (name, answer) in [
        (
            "a string of the cap",
            Answer::Bytes(format!("${cap}\r\n{}\r\n", "x".repeat(cap)).into()),
        ),
        ("all numbers that fit", all_that_fit(cap, ":1\r\n", 0)),
        ("all empty arrays that fit", all_that_fit(cap, "*0\r\n", 0)),
        (
            "all short strings that fit",
            all_that_fit(cap, "$1\r\nx\r\n", 1),
        ),
        (
            "all strings of 24 bytes that fit",
            all_that_fit(cap, &format!("$24\r\n{}\r\n", "x".repeat(24)), 24),
        ),
        ("all errors that fit", all_that_fit(cap, "-E x\r\n", 3)),
        ("all nulls that fit", all_that_fit(cap, "$-1\r\n", 0)),
    ] {
        // An error inside is the caller's to meet, or the call's.
        let fits = (!name.contains("errors")).then_some(true);
        all.push(Speech {
            fits,
            ..speech(name, answer, &[])
        });
    }
    all
}

#[test]
fn whatever_a_peer_says_is_an_error_within_bounded_memory() {
    let name = "faults::hostile::whatever_a_peer_says_is_an_error_within_bounded_memory";
    let Some(case) = Case::alone(name) else {
        return;
    };
    let before = Baseline::now();
    for lines in [0, 2] {
        for cap in [MIB, if whole() { 64 * MIB } else { 8 * MIB }] {
            if whole() || case.dice(cap as u64).below(2) == lines / 2 {
                listen(&case, lines as usize, cap);
            }
        }
    }
    before.is_back();
    case.end(BUSY);
}

fn listen(case: &Case, lines: usize, cap: usize) {
    let next = Arc::new(Mutex::new(None::<Answer>));
    let mine = next.clone();
    let peer = Peer::answer(move |request| {
        if request[0] == b"HELLO" {
            let text = "%2\r\n$7\r\nversion\r\n$5\r\n7.0.0\r\n$5\r\nproto\r\n:3\r\n";
            return Answer::from(text);
        }
        match polite(request) {
            Some(text) => text.into(),
            None => mine.lock().unwrap().take().unwrap_or("+fine\r\n".into()),
        }
    });
    let config = Config::new()
        .url(peer.url())
        .shared_lines(lines)
        .max_reply_bytes(cap)
        .command_timeout(PATIENCE)
        .health_check_interval(Duration::ZERO)
        .cleanup_interval(Duration::ZERO);
    let keep = Manager::open_config(&config).expect("a config of ours");
    let good = || case.call("good", PATIENCE, || keep.get::<String>("a"));
    // What is made once is there.
    assert_eq!(good().unwrap().as_deref(), Some("fine"));
    let mut most = (0, "");
    for speech in speeches(cap) {
        let what = format!("{}, cap {cap}, lines {lines}", speech.name);
        let endless = speech.ends.contains(&ErrorKind::Timeout);
        let time = if endless { TIME } else { PATIENCE };
        for piped in [false, true] {
            *next.lock().unwrap() = Some(speech.answer.clone());
            let held = forget_peak();
            // What cannot be repeated.
            let error = case.call(&what, time, || match piped {
                false => keep.command_within::<Value>(("LPOP", "a"), time),
                true => {
                    let mut pipe = keep.pipeline();
                    pipe.command(("LPOP", "a"))?;
                    pipe.within(time).execute()?.get::<Value>(0)
                }
            });
            let took = peak().saturating_sub(held);
            most = most.max((took, speech.name));
            if took > 2 * cap + BESIDE {
                case.mismatch(format!("{what}, piped {piped}: {took} bytes"));
            }
            match error {
                Err(error) if speech.ends.contains(&error.kind()) => {}
                Ok(_) if speech.fits == Some(true) => {}
                _ if speech.fits.is_none() => {}
                other => case.mismatch(format!("{what}, piped {piped}: {:?}", other.map(drop))),
            }
            next.lock().unwrap().take();
            match good() {
                Ok(Some(text)) if text == "fine" => {}
                // The node may be taken for dead, for a moment.
                _ => wait_until(PATIENCE, || {
                    good().is_ok_and(|text| text.as_deref() == Some("fine"))
                }),
            }
        }
    }
    figure(format!(
        "cap {} MiB, lines {lines}: {:.1} MiB beside what was held before, at most ({})",
        cap / MIB,
        most.0 as f64 / MIB as f64,
        most.1
    ));
    keep.close(PATIENCE).unwrap();
}
