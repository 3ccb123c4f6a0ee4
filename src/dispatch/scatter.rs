//! Many commands to many nodes at once: split by node, run side by side, each redirected on its own, and told in the
//! order in which they were given.

use std::ops::Range;
use std::sync::{Arc, Mutex};

use crate::clock::{self, CommandTimes, Deadline, Moment, times};
use crate::dispatch::{
    Class, Dispatch, FIRST_PAUSE, LONGEST_PAUSE, REDIRECTS, Sent, Verdict, Way, endless, refused,
    watched,
};
use crate::error::{Error, ErrorKind, Outcome, Result};
use crate::fork::lock;
use crate::node::{Batch, Node};
use crate::topology::Picked;
use crate::transport::{Entry, Kind, Reached, Reply, command};
use crate::worker::Worker;

/// One of the commands.
pub(crate) struct Part<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) class: Class,
    pub(crate) key: Option<&'a [u8]>,
    /// Of a script's call by its digest: the command by which a server learns the script.
    pub(crate) teaching: Option<&'a [u8]>,
}

/// What became of one of them.
pub(crate) enum Fate {
    /// It was answered, perhaps by an error: this value, in this one of the replies.
    Answered(usize, Entry),
    Failed(Error),
}

/// A part that is on its way.
struct Traveller {
    part: usize,
    /// Where an answer sent it, and whether by an ASK.
    sent_to: Option<(Arc<Node>, bool)>,
    from_replicas: bool,
    redirects: u32,
    tries: u32,
    in_doubt: bool,
    /// The last refusal, should there be no better answer in time.
    fallback: Option<Fate>,
}

/// What goes to one node in one round.
struct Group {
    node: Picked<'static>,
    travellers: Vec<Traveller>,
    bytes: Vec<u8>,
    /// Commands in `bytes`, ASKING among them.
    count: usize,
    /// Of each traveller: which reply is its own, and where it begins in `bytes`.
    places: Vec<(usize, usize)>,
    /// Where in `bytes` the scripts are that the node is taught.
    taught: Vec<Range<usize>>,
}

/// How one group came back.
struct Return {
    group: Group,
    reply: Reply,
    reached: Reached,
    result: Result<()>,
    times: CommandTimes,
}

impl Dispatch {
    /// Sends all parts and collects what became of each, in their order, and the replies that hold the answers.
    pub(crate) fn scatter(
        &self,
        parts: &[Part<'_>],
        started: Moment,
        deadline: Deadline,
    ) -> (Vec<Fate>, Vec<Reply>) {
        self.counters.calls.add();
        if !self.watched {
            return self.scatter_all(parts, started, deadline);
        }
        let sent = Sent {
            bytes: parts.first().map_or(&[], |part| part.bytes),
            commands: parts.len(),
            atomic: false,
            apart: false,
        };
        let call = |_: &mut Way| self.scatter_all(parts, started, deadline);
        watched(&self.settings, &self.counters, sent, call, |(fates, _)| {
            fates.iter().find_map(Fate::error)
        })
    }

    fn scatter_all(
        &self,
        parts: &[Part<'_>],
        started: Moment,
        deadline: Deadline,
    ) -> (Vec<Fate>, Vec<Reply>) {
        let mut fates: Vec<Option<Fate>> = parts.iter().map(|_| None).collect();
        let mut replies = Vec::new();
        let mut waiting: Vec<Traveller> = (0..parts.len()).map(Traveller::new).collect();
        let mut pause = FIRST_PAUSE;
        while !waiting.is_empty() {
            let groups = self.group(parts, std::mem::take(&mut waiting), deadline, &mut fates);
            let mut rest = false;
            let all = side_by_side(groups, started, deadline);
            // They went at the same time: the one that took the longest is what was waited for.
            if let Some(back) = all.iter().max_by_key(|back| back.times.busy()) {
                times::note(back.times);
            }
            for back in all {
                let number = replies.len();
                rest |= self.sort_out(parts, &back, number, &mut fates, &mut |t| waiting.push(t));
                replies.push(back.reply);
            }
            if waiting.is_empty() {
                break;
            }
            // Groups come back in any order, and what was added first goes first again.
            waiting.sort_unstable_by_key(|traveller| traveller.part);
            self.counters.retries.add();
            let time = if rest {
                clock::between(pause / 2, pause)
            } else {
                Default::default()
            };
            let closing = &self.topology.fleet.closing;
            if deadline.remaining().is_none_or(|left| left <= time) || closing.sleep(time) {
                for traveller in waiting.drain(..) {
                    let why = match closing.is_open() {
                        true => Error::closed(),
                        false => {
                            Error::new(ErrorKind::Timeout, "the deadline passed between two tries")
                        }
                    };
                    let part = traveller.part;
                    fates[part] = Some(traveller.ended(why));
                }
                break;
            }
            if rest {
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
        let fates: Vec<Fate> = (fates.into_iter())
            .map(|fate| fate.expect("every part arrives or fails"))
            .collect();
        if let Some(error) = fates.iter().find_map(Fate::error) {
            self.counters.failed(error);
        }
        (fates, replies)
    }

    /// Who goes where. Those for whom there is no node have failed.
    fn group(
        &self,
        parts: &[Part<'_>],
        travellers: Vec<Traveller>,
        deadline: Deadline,
        fates: &mut [Option<Fate>],
    ) -> Vec<Group> {
        let mut groups: Vec<Group> = Vec::new();
        for mut traveller in travellers {
            let part = &parts[traveller.part];
            let reads = part.class == Class::Read && traveller.from_replicas;
            let (node, asking) = match traveller.sent_to.take() {
                Some((node, asking)) => (Ok(Picked::Named(node)), asking),
                None => (self.topology.pick(part.key, reads, deadline), false),
            };
            let node = match node {
                Ok(node) => node,
                Err(error) => {
                    let part = traveller.part;
                    fates[part] = Some(traveller.ended(error));
                    continue;
                }
            };
            let at = groups
                .iter()
                .position(|group| Arc::ptr_eq(&group.node, &node));
            let at = at.unwrap_or_else(|| {
                groups.push(Group::to(node.kept()));
                groups.len() - 1
            });
            groups[at].add(traveller, part, asking);
        }
        groups
    }

    /// Takes a group apart: what is answered or has failed has met its fate, and the others go on. True if they had
    /// better rest before they do.
    fn sort_out(
        &self,
        parts: &[Part<'_>],
        back: &Return,
        number: usize,
        fates: &mut [Option<Fate>],
        goes_on: &mut dyn FnMut(Traveller),
    ) -> bool {
        let answers = back.reply.children(back.reply.root());
        let node = &back.group.node;
        let mut rest = false;
        for (traveller, (reply, begin)) in back.group.travellers.iter().zip(&back.group.places) {
            let mut traveller = traveller.renewed();
            let part = &parts[traveller.part];
            let answer = answers
                .get(*reply)
                .filter(|_| *reply < back.reached.answered);
            let (error, fate) = match (answer, &back.result) {
                (Some(entry), _) if entry.kind == Kind::Error => {
                    let text = back.reply.bytes_of(entry);
                    let error = refused(text, part.class).on_node(&node.name);
                    (error, Some(Fate::Answered(number, *entry)))
                }
                (Some(entry), _) => {
                    fates[traveller.part] = Some(Fate::Answered(number, *entry));
                    continue;
                }
                (None, Err(error)) => {
                    let outcome = match error.outcome() {
                        Outcome::Unknown if *begin >= back.reached.sent => Outcome::NotSent,
                        outcome => outcome,
                    };
                    traveller.in_doubt |= outcome == Outcome::Unknown;
                    (error.clone().outcome_is(outcome), None)
                }
                (None, Ok(())) => (
                    Error::new(ErrorKind::Internal, "an answer is missing"),
                    None,
                ),
            };
            match self.goes_on(&mut traveller, part, node, &error) {
                Ok(Some(pause)) => {
                    rest |= pause;
                    traveller.fallback = fate.or(traveller.fallback);
                    goes_on(traveller);
                }
                Ok(None) => {
                    fates[traveller.part] = Some(fate.unwrap_or_else(|| traveller.failed(error)));
                }
                Err(error) => fates[traveller.part] = Some(traveller.failed(error)),
            }
        }
        rest
    }

    /// Whether the part is sent again, and if so, whether after a pause.
    fn goes_on(
        &self,
        traveller: &mut Traveller,
        part: &Part<'_>,
        node: &Picked<'_>,
        error: &Error,
    ) -> Result<Option<bool>> {
        let route = super::Route::Key(part.key);
        let lost = self.lost(node, error, route);
        if node.is_replica() && traveller.from_replicas && super::cannot_answer(error) {
            traveller.from_replicas = false;
            return Ok(Some(false));
        }
        if let Some(to) = self.redirected(node, error, route)? {
            traveller.redirects += 1;
            self.counters.redirects.add();
            if traveller.redirects > REDIRECTS {
                return Err(endless(error.clone()));
            }
            traveller.sent_to = Some((to, error.code() == Some("ASK")));
            return Ok(Some(false));
        }
        if error.kind() == ErrorKind::NoHealthyPools {
            return Ok(None);
        }
        if error.kind() == ErrorKind::ReadOnly && self.topology.may_change() {
            node.purge();
            self.topology.doubt();
        }
        traveller.tries += 1;
        let often = traveller.tries > self.settings.retries;
        Ok(match self.verdict(error, part.class) {
            Verdict::Final | Verdict::Again if lost && !often => Some(true),
            Verdict::Final => None,
            Verdict::Again => (!often).then_some(traveller.tries > 1),
            Verdict::Patience => Some(true),
        })
    }
}

impl Traveller {
    fn new(part: usize) -> Traveller {
        Traveller {
            part,
            sent_to: None,
            from_replicas: true,
            redirects: 0,
            tries: 0,
            in_doubt: false,
            fallback: None,
        }
    }

    /// As it stands when it is back from a node.
    fn renewed(&self) -> Traveller {
        Traveller {
            sent_to: None,
            fallback: match &self.fallback {
                Some(Fate::Answered(reply, entry)) => Some(Fate::Answered(*reply, *entry)),
                _ => None,
            },
            ..*self
        }
    }

    fn failed(&self, error: Error) -> Fate {
        Fate::Failed(match self.in_doubt {
            true => error.outcome_is(Outcome::Unknown),
            false => error,
        })
    }

    /// Nothing more can be done: what the server said last, or else why.
    fn ended(self, why: Error) -> Fate {
        match self.fallback {
            Some(said) if !self.in_doubt => said,
            _ => self.failed(why),
        }
    }
}

impl Fate {
    fn error(&self) -> Option<&Error> {
        match self {
            Fate::Answered(..) => None,
            Fate::Failed(error) => Some(error),
        }
    }
}

impl Group {
    fn to(node: Picked<'static>) -> Group {
        Group {
            node,
            travellers: Vec::new(),
            bytes: Vec::new(),
            count: 0,
            places: Vec::new(),
            taught: Vec::new(),
        }
    }

    fn add(&mut self, traveller: Traveller, part: &Part<'_>, asking: bool) {
        // A redirection of the first call would leave the node without the script; this command is never redirected.
        if let Some(teaching) = part.teaching
            && !(self.taught.iter()).any(|known| self.bytes[known.clone()] == *teaching)
        {
            let begin = self.bytes.len();
            self.bytes.extend_from_slice(teaching);
            self.taught.push(begin..self.bytes.len());
            self.count += 1;
        }
        if asking {
            command(&mut self.bytes, &[b"ASKING"]);
            self.count += 1;
        }
        self.places.push((self.count, self.bytes.len()));
        self.bytes.extend_from_slice(part.bytes);
        self.count += 1;
        self.travellers.push(traveller);
    }

    fn go(self, started: Moment, deadline: Deadline) -> Return {
        let (mut reply, mut reached) = (Reply::new(), Reached::default());
        let batch = Batch {
            bytes: &self.bytes,
            count: self.count,
            atomic: false,
            started,
            deadline,
        };
        let node = &self.node;
        let (result, times) = times::watch(|| node.call_many(&batch, &mut reply, &mut reached));
        Return {
            group: self,
            reply,
            reached,
            result,
            times,
        }
    }
}

/// The last group goes on the caller's own thread, each of the others on one of its own.
fn side_by_side(mut groups: Vec<Group>, started: Moment, deadline: Deadline) -> Vec<Return> {
    let Some(own) = groups.pop() else {
        return Vec::new();
    };
    let others: Vec<_> = groups
        .into_iter()
        .map(|group| {
            let place = Arc::new(Mutex::new(Place::Leaving(group)));
            let theirs = place.clone();
            let worker = Worker::start("redkeep-part", move || {
                if let Place::Leaving(group) = take(&theirs) {
                    *lock(&theirs) = Place::Back(group.go(started, deadline));
                }
            });
            (place, worker)
        })
        .collect();
    let mut back = vec![own.go(started, deadline)];
    for (place, worker) in others {
        if let Ok(worker) = worker {
            worker.join(Deadline::never());
        }
        match take(&place) {
            Place::Back(group) => back.push(group),
            // The system has no thread for it: then one after the other.
            Place::Leaving(group) => back.push(group.go(started, deadline)),
            Place::Empty => {}
        }
    }
    back
}

/// Where a group lies that goes on a thread of its own.
#[derive(Default)]
enum Place {
    Leaving(Group),
    Back(Return),
    #[default]
    Empty,
}

fn take(place: &Mutex<Place>) -> Place {
    std::mem::take(&mut *lock(place))
}
