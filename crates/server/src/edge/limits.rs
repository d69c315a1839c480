//! How many connections there may be: of all clients together, of one address, and of this process's open files.

use std::net::IpAddr;
use std::sync::Arc;

use ahash::AHashMap;
use parking_lot::Mutex;

/// Files the server keeps for itself: logs, table, lock, runtime.
const FILES_RESERVED: u64 = 512;

/// Raises the soft limit on open files to the hard one; how many connections fit under it.
///
/// A limit that cannot be raised is no error: fewer connections are then taken.
pub(super) fn connections_under_file_limit(wanted: usize) -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::warn!(%error, "the limit on open files could not be raised");
        }
    }
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let fitting = usize::try_from(files.saturating_sub(FILES_RESERVED).max(16)).unwrap_or(usize::MAX);
    if fitting < wanted {
        tracing::info!(wanted, taken = fitting, "connections_max is lowered to the open files that the system allows");
    }
    wanted.min(fitting)
}

/// Counts the open connections of each address. An IPv6 network of 64 bits counts as one address.
#[derive(Clone, Debug, Default)]
pub(super) struct PerAddress(Arc<Mutex<AHashMap<IpAddr, usize>>>);

/// One open connection of an address; gone when dropped.
#[derive(Debug)]
pub(super) struct Counted {
    counts: PerAddress,
    address: IpAddr,
}

impl PerAddress {
    /// Counts one more, unless there are `max` already.
    pub(super) fn admit(&self, address: IpAddr, max: usize) -> Option<Counted> {
        let address = network(address);
        let mut counts = self.0.lock();
        let count = counts.entry(address).or_insert(0);
        if *count >= max {
            return None;
        }
        *count += 1;
        Some(Counted { counts: self.clone(), address })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut counts = self.counts.0.lock();
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() & (u128::MAX << 64)).into()),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_cannot_take_all_connections() {
        let counts = PerAddress::default();
        let one: IpAddr = "2001:db8::1".parse().unwrap();
        let neighbour: IpAddr = "2001:db8::2".parse().unwrap();
        let other: IpAddr = "192.0.2.1".parse().unwrap();
        let first = counts.admit(one, 2).unwrap();
        let _second = counts.admit(neighbour, 2).unwrap();
        assert!(counts.admit(one, 2).is_none());
        assert!(counts.admit(other, 2).is_some());
        drop(first);
        assert!(counts.admit(one, 2).is_some());
    }
}
