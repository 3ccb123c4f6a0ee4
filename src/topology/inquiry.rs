//! Asking several servers the same question, side by side, under one deadline.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, unbounded};

use crate::clock::{Deadline, Moment};
use crate::config::Endpoint;
use crate::error::{Error, ErrorKind, Result};
use crate::transport::{Dialer, Lifeline, Reached, Reply};
use crate::worker::Worker;

/// What is asked: packed commands, and how many they are.
#[derive(Clone)]
pub(crate) struct Question {
    pub(crate) bytes: Arc<[u8]>,
    pub(crate) count: usize,
}

/// What became of asking one of them.
pub(crate) struct Answer<'a> {
    pub(crate) by: &'a Endpoint,
    /// An array, one element a command.
    pub(crate) reply: Result<Reply>,
}

/// Whoever is asked ends within moments once the lifeline is cut.
const MOMENT: Duration = Duration::from_secs(1);

/// Asks them in their order, the next one after each `pause` or as soon as one has failed, and shows each answer to
/// `judge` as it comes, until that has heard enough. Whoever has not answered by then, or by the deadline, is let go.
/// `dialer` makes what opens a connection to one of them.
pub(crate) fn inquire(
    dialer: &dyn Fn(Endpoint, &Arc<Lifeline>) -> Dialer,
    whom: &[Endpoint],
    question: &Question,
    pause: Duration,
    lifeline: &Arc<Lifeline>,
    mut deadline: Deadline,
    judge: &mut dyn FnMut(Answer<'_>, &mut Deadline) -> ControlFlow<()>,
) {
    let (answers, inbox) = unbounded();
    let mut workers = Vec::new();
    let mut next = whom.iter().enumerate();
    let (mut under_way, mut left) = (0, whom.len());
    let mut ask_at = Moment::now();
    while left + under_way > 0 {
        if left > 0 && (under_way == 0 || Moment::now() >= ask_at) {
            let (i, endpoint) = next.next().expect("as many as are left");
            left -= 1;
            under_way += 1;
            ask_at = Moment::now() + pause;
            let dialer = dialer(endpoint.clone(), lifeline);
            let (question, answers) = (question.clone(), answers.clone());
            let body = {
                let answers = answers.clone();
                move || {
                    let _ = answers.send((i, ask(&dialer, &question, deadline)));
                }
            };
            match Worker::start("redkeep-ask", body) {
                Ok(worker) => workers.push(worker),
                Err(error) => {
                    let _ = answers.send((i, Err(error)));
                }
            }
            if pause.is_zero() {
                continue;
            }
        }
        let patience = match left {
            0 => deadline,
            _ => deadline.within(ask_at.since(Moment::now())),
        };
        match inbox.recv_timeout(patience.remaining().unwrap_or_default()) {
            Ok((i, reply)) => {
                under_way -= 1;
                // A failure lets the next one be asked now.
                if reply.is_err() {
                    ask_at = Moment::now();
                }
                let by = &whom[i];
                if judge(Answer { by, reply }, &mut deadline).is_break() {
                    break;
                }
            }
            Err(RecvTimeoutError::Timeout) if !deadline.passed() => {}
            Err(_) => break,
        }
    }
    lifeline.cut();
    let end = Deadline::after(MOMENT);
    for worker in workers {
        worker.join(end);
    }
}

fn ask(dialer: &Dialer, question: &Question, deadline: Deadline) -> Result<Reply> {
    let mut reply = Reply::new();
    dialer
        .dial(deadline)
        .and_then(|mut connection| {
            connection.call_many(
                &question.bytes,
                question.count,
                &mut reply,
                deadline,
                &mut Reached::default(),
            )
        })
        .map_err(|error| error.on_node(&dialer.endpoint.address.to_string().into()))?;
    Ok(reply)
}

/// What came of it when nobody gave an answer that could be used. What the user can mend is put first.
pub(crate) fn sum_up(what: &str, failures: Vec<Error>) -> Error {
    use ErrorKind::{Auth, Cluster, Config, Tls};
    let mendable = |error: &&Error| matches!(error.kind(), Config | Auth | Tls | Cluster);
    let telling = failures.iter().find(mendable).or(failures.last());
    let kind = telling.map_or(ErrorKind::Timeout, Error::kind);
    let mut texts: Vec<String> = failures.iter().map(Error::to_string).collect();
    if texts.is_empty() {
        texts.push("no answer came in time".to_owned());
    }
    let more = texts.len().saturating_sub(MANY);
    texts.truncate(MANY);
    if more > 0 {
        texts.push(format!("and {more} more"));
    }
    Error::new(kind, format!("{what}: {}", texts.join("; ")))
}

/// More failures than this are not listed.
const MANY: usize = 6;
