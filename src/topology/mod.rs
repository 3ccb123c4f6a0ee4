//! Which node serves a request.

mod standalone;

use std::sync::Arc;

use crate::config::{Settings, Target};
use crate::error::{Error, ErrorKind, Result};
use crate::node::{Fleet, Node};

pub(crate) use standalone::Standalone;

/// The nodes of one manager, and the rule by which one of them is picked.
pub(crate) struct Topology {
    pub(crate) fleet: Fleet,
    kind: Kind,
}

enum Kind {
    Standalone(Standalone),
}

impl Topology {
    pub(crate) fn new(target: &Target, settings: Arc<Settings>) -> Result<Topology> {
        let fleet = Fleet::new(settings)?;
        Topology::over(fleet, target)
    }

    /// The same for a forked child.
    pub(crate) fn renewed(parent: &Topology, target: &Target) -> Result<Topology> {
        Topology::over(Fleet::renewed(&parent.fleet)?, target)
    }

    fn over(fleet: Fleet, target: &Target) -> Result<Topology> {
        let kind = match target {
            Target::One(endpoint) => Kind::Standalone(Standalone::new(&fleet, endpoint)?),
            Target::Sentinel { .. } => return Err(not_yet("Sentinel")),
            Target::Cluster { .. } => return Err(not_yet("Redis Cluster")),
            Target::Embedded => {
                return Err(Error::new(
                    ErrorKind::Internal,
                    "an embedded server has an address once it runs",
                ));
            }
        };
        Ok(Topology { fleet, kind })
    }

    /// The node for a request on `key`; without a key, the configured one.
    pub(crate) fn pick(&self, _key: Option<&[u8]>) -> Result<&Arc<Node>> {
        match &self.kind {
            Kind::Standalone(standalone) => Ok(standalone.pick()),
        }
    }

    /// The node that the manager was configured with.
    pub(crate) fn home(&self) -> Result<&Arc<Node>> {
        self.pick(None)
    }
}

fn not_yet(what: &str) -> Error {
    Error::new(
        ErrorKind::Config,
        format!("{what} is not part of this version of redkeep yet"),
    )
}
