//! One thread's calls, each with a tag of its own, and what the servers have to say of them in the end.

use std::thread;
use std::time::Duration;

use redkeep::{Error, ErrorKind, Manager, Outcome, Result};

use super::case::Case;
use super::place::Place;
use crate::support::Dice;

/// What the caller was told became of a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Done,
    /// Not sent, or refused.
    Not,
    Unknown,
}

impl Told {
    fn of(outcome: Option<Outcome>) -> Told {
        match outcome {
            None => Told::Done,
            Some(Outcome::Unknown) => Told::Unknown,
            Some(_) => Told::Not,
        }
    }
}

pub struct Load<'a> {
    case: &'a Case,
    keep: &'a Manager,
    /// By when a call is to end.
    time: Duration,
    me: u64,
    dice: Dice,
    turn: u64,
    /// What was pushed to a list of this thread's own.
    pushed: Vec<(String, Told)>,
}

impl<'a> Load<'a> {
    pub fn new(case: &'a Case, keep: &'a Manager, me: u64, time: Duration) -> Load<'a> {
        Load {
            case,
            keep,
            time,
            me,
            dice: case.dice(1 + me),
            turn: 0,
            pushed: Vec::new(),
        }
    }

    fn key(&self) -> String {
        format!("pushed:{}", self.me)
    }

    fn tag(&mut self) -> String {
        self.turn += 1;
        let filler = self.dice.below(200) as usize;
        format!("{}:{}:{}", self.me, self.turn, "x".repeat(filler))
    }

    /// Any call; the error that it ended with.
    pub fn call(&mut self) -> Result<()> {
        let result = match self.dice.below(10) {
            0..4 => self.echo(),
            4..6 => self.value(),
            6..9 => self.push(),
            _ => self.pipeline(),
        };
        if (result.as_ref()).is_err_and(|error| error.kind() == ErrorKind::NoHealthyPools) {
            // Refused at once: without a pause, that would be all that is ever done.
            thread::sleep(Duration::from_millis(1));
        }
        result
    }

    pub fn echo(&mut self) -> Result<()> {
        let tag = self.tag();
        let keep = self.keep;
        let call = || keep.command::<String>(("ECHO", &tag));
        let back = self.case.call("echo", self.time, call)?;
        self.case.same("echo", &back, &tag);
        Ok(())
    }

    /// A value that only this thread sets, and that names its key.
    pub fn value(&mut self) -> Result<()> {
        let (keep, case) = (self.keep, self.case);
        let key = format!("value:{}:{}", self.me, self.dice.below(8));
        let value = format!("{key}|{}", self.tag());
        case.call("set", self.time, || keep.set(&key, &value))?;
        let back: Option<String> = case.call("get", self.time, || keep.get(&key))?;
        // A value of before, where an older SET was executed late or the server has lost the last one.
        let back = back.unwrap_or_else(|| key.clone());
        case.same("get", back.split('|').next().unwrap_or_default(), &key);
        Ok(())
    }

    pub fn push(&mut self) -> Result<()> {
        let tag = self.tag();
        let (keep, key) = (self.keep, self.key());
        let call = || keep.command::<i64>(("RPUSH", &key, &tag));
        let result = self.case.call("push", self.time, call);
        let outcome = result.as_ref().err().map(Error::outcome);
        self.pushed.push((tag, Told::of(outcome)));
        result.map(drop)
    }

    fn pipeline(&mut self) -> Result<()> {
        let mut pipe = self.keep.pipeline();
        let key = self.key();
        let mut wanted = Vec::new();
        for _ in 0..1 + self.dice.below(20) {
            let tag = self.tag();
            let echoes = self.dice.below(2) == 0;
            match echoes {
                true => pipe.command(("ECHO", &tag))?,
                false => pipe.command(("RPUSH", &key, &tag))?,
            };
            wanted.push((tag, echoes));
        }
        let case = self.case;
        let mut echoed = Vec::new();
        let result = case.call("pipeline", self.time, || {
            let replies = pipe.execute()?;
            for (at, (tag, echoes)) in wanted.iter().enumerate() {
                let reply = replies.get::<String>(at);
                if *echoes && let Ok(back) = &reply {
                    case.same("pipeline", back, tag);
                }
                // A refusal of one command leaves the others answered.
                echoed.push(reply.err().map(|error| error.outcome()));
            }
            Ok(())
        });
        for (at, (tag, echoes)) in wanted.into_iter().enumerate() {
            if !echoes {
                let outcome = match &result {
                    Ok(()) => echoed[at],
                    Err(_) => pipe.outcome(at),
                };
                self.pushed.push((tag, Told::of(outcome)));
            }
        }
        result
    }

    /// What the caller was told is what the servers did. How many pushes were acknowledged, and how many are unknown.
    #[track_caller]
    pub fn agrees(&self, place: &Place) -> (usize, usize) {
        let list = place.list(&self.key());
        let mut times = std::collections::HashMap::<&str, usize>::new();
        for tag in &list {
            *times.entry(tag).or_default() += 1;
        }
        for (tag, told) in &self.pushed {
            let done = times.remove(tag.as_str()).unwrap_or(0);
            let right = match told {
                Told::Done => done == 1,
                Told::Not => done == 0,
                Told::Unknown => done <= 1,
            };
            if !right {
                let text = format!("{tag} was executed {done} times; its caller was told {told:?}");
                self.case.mismatch(text);
            }
        }
        for tag in times.keys() {
            self.case.mismatch(format!("{tag}: nobody sent it"));
        }
        let count = |which| {
            self.pushed
                .iter()
                .filter(|(_, told)| *told == which)
                .count()
        };
        (count(Told::Done), count(Told::Unknown))
    }
}
