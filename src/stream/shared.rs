//! What all parts of one consumer share.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::client::Client;
use crate::clock::Deadline;
use crate::dispatch::{Class, Request};
use crate::error::Result;
use crate::fork::{self, lock};
use crate::node::Node;
use crate::stream::page::Spares;
use crate::stream::scripts::Scripts;
use crate::transport::{Reply, command};
use crate::worker::Latch;

pub(super) struct Shared {
    pub(super) client: Client,
    /// Under which the server knows this consumer.
    pub(super) name: String,
    pub(super) scripts: Scripts,
    pub(super) spares: Arc<Spares>,
    /// Opened when it is to end. No handler is begun from then on.
    pub(super) stopping: Arc<Latch>,
    /// Rung when a reader that waits for handlers may have something to do.
    pub(super) bell: Bell,
    /// How many readers wait in the server at this moment.
    blocked: AtomicUsize,
    /// How many there are.
    readers: AtomicUsize,
    posts: Mutex<Vec<Arc<Post>>>,
    /// How many jobs of ours the pool has.
    jobs: AtomicUsize,
    generation: u64,
}

/// A job of ours that the pool has, begun or not.
pub(super) struct Job(Arc<Shared>);

impl Drop for Job {
    fn drop(&mut self) {
        self.0.jobs.fetch_sub(1, Ordering::SeqCst);
        self.0.bell.ring();
    }
}

/// A reader's connection, as others see it.
pub(super) struct Post {
    node: Arc<Node>,
    /// The connection's number in the server; 0 while it has none.
    id: AtomicI64,
    blocked: AtomicBool,
}

impl Shared {
    pub(super) fn new(client: Client, name: String) -> Arc<Shared> {
        Arc::new(Shared {
            client,
            name,
            scripts: Scripts::default(),
            spares: Arc::default(),
            stopping: Arc::default(),
            bell: Bell::default(),
            blocked: AtomicUsize::new(0),
            readers: AtomicUsize::new(0),
            posts: Mutex::default(),
            jobs: AtomicUsize::new(0),
            generation: fork::generation(),
        })
    }

    /// Whether this process is a fork of the one whose consumer it is.
    pub(super) fn is_foreign(&self) -> bool {
        self.generation != fork::generation()
    }

    /// Whether the manager is closing, or is closed.
    pub(super) fn is_over(&self) -> bool {
        let dispatch = self.client.dispatch();
        dispatch.is_ok_and(|it| it.topology.fleet.closing.is_open())
    }

    pub(super) fn job(self: &Arc<Self>) -> Job {
        self.jobs.fetch_add(1, Ordering::SeqCst);
        Job(self.clone())
    }

    /// Whether the pool still holds anything of ours.
    pub(super) fn has_jobs(&self) -> bool {
        self.jobs.load(Ordering::SeqCst) > 0
    }

    /// Sends what is packed over the connections that all share.
    pub(super) fn send(&self, packed: &[u8], key: &str) -> Result<()> {
        let time = self.client.timeout()?;
        let request = Request::new(packed, Class::Repeatable, Some(key.as_bytes()), time);
        let mut reply = Reply::new();
        self.client.dispatch()?.call(&request, &mut reply)
    }

    pub(super) fn enlist(&self, node: Arc<Node>) -> Arc<Post> {
        let post = Arc::new(Post {
            node,
            id: AtomicI64::new(0),
            blocked: AtomicBool::new(false),
        });
        lock(&self.posts).push(post.clone());
        self.readers.fetch_add(1, Ordering::SeqCst);
        post
    }

    pub(super) fn dismiss(&self, post: &Arc<Post>) {
        lock(&self.posts).retain(|other| !Arc::ptr_eq(other, post));
        self.readers.fetch_sub(1, Ordering::SeqCst);
    }

    /// A reader is about to wait in the server. What others have to send meanwhile, they send themselves.
    pub(super) fn begin_wait(&self, post: &Post) {
        self.blocked.fetch_add(1, Ordering::SeqCst);
        post.blocked.store(true, Ordering::SeqCst);
    }

    pub(super) fn end_wait(&self, post: &Post) {
        post.blocked.store(false, Ordering::SeqCst);
        self.blocked.fetch_sub(1, Ordering::SeqCst);
    }

    /// Whether no reader will send what there is to be sent, soon.
    pub(super) fn must_send(&self) -> bool {
        self.blocked.load(Ordering::SeqCst) > 0 || self.readers.load(Ordering::SeqCst) == 0
    }

    /// Lets readers that wait in the server come back. One that begins to wait in this very moment is missed, and
    /// comes back after a second at most.
    pub(super) fn rouse(&self) {
        self.bell.ring();
        let blocked: Vec<Arc<Post>> = {
            let posts = lock(&self.posts);
            let blocked = posts.iter().filter(|it| it.blocked.load(Ordering::SeqCst));
            blocked.cloned().collect()
        };
        for post in blocked {
            if let Err(error) = self.unblock(&post) {
                log::debug!(target: "redkeep", "a waiting reader could not be called back: {error}");
            }
        }
    }

    fn unblock(&self, post: &Post) -> Result<()> {
        let id = post.id.load(Ordering::Relaxed);
        if id == 0 {
            return Ok(());
        }
        let mut packed = Vec::new();
        command(
            &mut packed,
            &[b"CLIENT", b"UNBLOCK", id.to_string().as_bytes()],
        );
        let time = self.client.timeout()?.min(ROUSE);
        let request = Request::new(&packed, Class::Repeatable, None, time);
        let mut reply = Reply::new();
        let dispatch = self.client.dispatch()?;
        dispatch.call_on(&post.node, &request, &mut reply)
    }
}

/// Calling a reader back is worth no longer wait: it comes back by itself.
const ROUSE: Duration = Duration::from_secs(1);

impl Post {
    pub(super) fn connected(&self, id: i64) {
        self.id.store(id, Ordering::Relaxed);
    }
}

/// Wakes one waiter; a ring that comes before the wait is not lost.
#[derive(Default)]
pub(super) struct Bell {
    rung: Mutex<bool>,
    waiter: Condvar,
}

impl Bell {
    pub(super) fn ring(&self) {
        let mut rung = lock(&self.rung);
        if !*rung {
            *rung = true;
            self.waiter.notify_all();
        }
    }

    pub(super) fn wait(&self, deadline: Deadline) {
        let mut rung = lock(&self.rung);
        while !*rung {
            let Some(left) = deadline.remaining() else {
                return;
            };
            let waited = self.waiter.wait_timeout(rung, left);
            rung = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        *rung = false;
    }
}
