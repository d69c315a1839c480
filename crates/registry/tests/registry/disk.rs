//! The registry over a log on a disk that loses its power, is full, fails or rots: what was answered is there, what was not
//! is there as a whole or not at all, and damage is named.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use eye_log::disk::Disk as _;
use eye_log::disk::sim::{Fault, Operation, SimDisk};
use eye_log::local::{LocalLog, LocalOptions};
use eye_log::{ErrorKind, PartitionId, SharedLog};
use eye_registry::{Error, Registry, Result, Role, State, UserChange};

use crate::support::{CLI, at, new_user, secret_token};

const DIR: &str = "registry";

fn options() -> LocalOptions {
    let mut options = LocalOptions::new(DIR, PartitionId(0));
    // Several segments, and nothing written ahead.
    (options.segment_bytes_max, options.reserve_bytes, options.room_bytes) = (700, 0, 0);
    options.salt_seed = Some(9);
    options
}

fn open_log(disk: &SimDisk) -> eye_log::Result<SharedLog> {
    Ok(Arc::new(LocalLog::open(options(), Arc::new(disk.clone()))?.0))
}

fn open(disk: &SimDisk) -> Registry {
    Registry::open(open_log(disk).unwrap()).unwrap()
}

type Change = fn(&Registry) -> Result<()>;

fn token_named(registry: &Registry, name: &str) -> eye_registry::TokenId {
    registry.state().find_token(name).unwrap().id.clone()
}

/// One after the other.
const CHANGES: [Change; 8] = [
    |registry| registry.create_application(&CLI, at(1), "shop", Some("The Shop")).map(drop),
    |registry| registry.create_token(&CLI, at(2), secret_token("one")).map(drop),
    |registry| registry.create_user(&CLI, at(3), new_user("ada", Role::Admin)).map(drop),
    |registry| registry.create_token(&CLI, at(4), secret_token("two")).map(drop),
    |registry| registry.revoke_token(&CLI, at(5), &token_named(registry, "one")).map(drop),
    |registry| registry.create_user(&CLI, at(6), new_user("vera", Role::Viewer)).map(drop),
    |registry| {
        let id = registry.state().users().iter().find(|user| user.name == "vera").unwrap().id.clone();
        registry.update_user(&CLI, at(7), &id, UserChange { active: Some(false), ..UserChange::default() }).map(drop)
    },
    |registry| registry.create_application(&CLI, at(8), "other", None).map(drop),
];

/// What a registry is after each of its changes, from none to `count`.
fn change(registry: &Registry, count: usize) -> Vec<Arc<State>> {
    let mut states = vec![registry.state()];
    for change in &CHANGES[..count] {
        change(registry).unwrap();
        states.push(registry.state());
    }
    states
}

fn changes_in(registry: &Registry) -> usize {
    registry.audit(None, 100).unwrap().len()
}

#[test]
fn what_was_answered_survives_a_power_cut_and_what_was_not_is_there_or_not() {
    for seed in 0..200 {
        let disk = SimDisk::new();
        let count = seed as usize % CHANGES.len();
        let registry = open(&disk);
        let before = change(&registry, count).pop().unwrap();
        if seed % 2 == 0 {
            // One more is on its way to the disk.
            disk.hold_syncs();
            std::thread::scope(|scope| {
                let change = scope.spawn(|| CHANGES[count](&registry));
                disk.wait_for_held_sync();
                disk.crash(seed);
                disk.release_syncs();
                assert!(change.join().unwrap().is_err(), "answered before it was durable");
            });
            assert_eq!(*registry.state(), *before, "what failed was shown");
        } else {
            disk.crash(seed);
        }
        drop(registry);
        let again = open(&disk);
        let there = changes_in(&again);
        assert!(there == count || seed % 2 == 0 && there == count + 1, "seed {seed}: {there} changes of {count}");
        if there == count {
            assert_eq!(*again.state(), *before, "seed {seed}");
        }
        // It goes on, and what it says then is there again.
        for change in &CHANGES[there..] {
            change(&again).unwrap();
        }
        disk.crash(seed);
        let state = again.state();
        drop(again);
        assert_eq!(*open(&disk).state(), *state, "seed {seed}");
    }
}

#[test]
fn a_full_disk_refuses_changes_and_takes_them_again_when_there_is_space() {
    let mut refused = 0;
    for room in (0..900).step_by(13) {
        let disk = SimDisk::new();
        let registry = open(&disk);
        let mut states = change(&registry, 2);
        disk.set_capacity(Some(disk.used_bytes() + room));
        for change in &CHANGES[2..] {
            match change(&registry) {
                Ok(()) => states.push(registry.state()),
                Err(error) => {
                    assert!(matches!(&error, Error::Log(error) if *error.kind() == ErrorKind::Full), "{room}: {error}");
                    assert_eq!(&registry.state(), states.last().unwrap(), "{room}");
                    refused += 1;
                    break;
                }
            }
        }
        disk.set_capacity(None);
        for change in &CHANGES[states.len() - 1..] {
            change(&registry).unwrap();
        }
        let state = registry.state();
        disk.crash(room);
        drop(registry);
        assert_eq!(*open(&disk).state(), *state, "{room}");
    }
    assert!(refused > 10, "{refused} were refused");
}

#[test]
fn a_failing_call_never_becomes_an_answer() {
    let mut failed = 0;
    let operations = [
        Operation::Create,
        Operation::SyncDir,
        Operation::Write,
        Operation::Read,
        Operation::Truncate,
        Operation::Sync,
    ];
    for (operation, nth) in operations.into_iter().flat_map(|operation| (1..16).map(move |nth| (operation, nth))) {
        let disk = SimDisk::new();
        let states = {
            let registry = open(&disk);
            change(&registry, 3)
        };
        let mut last = Arc::clone(states.last().unwrap());
        let mut answered = states.len() - 1;
        disk.fail(operation, nth, Fault::Io);
        if let Ok(log) = open_log(&disk)
            && let Ok(registry) = Registry::open(log)
        {
            for change in &CHANGES[3..] {
                if change(&registry).is_err() {
                    failed += 1;
                    assert_eq!(*registry.state(), *last, "{operation:?} {nth}");
                    break;
                }
                (last, answered) = (registry.state(), answered + 1);
            }
        } else {
            failed += 1;
        }
        disk.kill();
        let again = open(&disk);
        let there = changes_in(&again);
        assert!(there == answered || there == answered + 1, "{operation:?} {nth}: {there} of {answered}");
        if there == answered {
            assert_eq!(*again.state(), *last, "{operation:?} {nth}");
        }
    }
    assert!(failed > 20, "{failed} calls failed");
}

fn files(disk: &SimDisk) -> Vec<(PathBuf, usize)> {
    let paths = disk.list(Path::new(DIR)).unwrap().into_iter().map(|name| Path::new(DIR).join(name));
    paths.map(|path| (path.clone(), disk.content(&path).unwrap().len())).collect()
}

/// Every byte turned: what opens is `expected` or what `may_be` allows, and the damage is named else.
fn turn_every_byte(disk: &SimDisk, may_be: &dyn Fn(&State) -> bool) -> (usize, usize) {
    let (mut named, mut opened) = (0, 0);
    let files = files(disk);
    assert!(files.len() > 2, "{files:?}");
    for (path, bytes) in files {
        for byte in 0..bytes {
            let disk = disk.fork();
            disk.flip(&path, byte, 1 << (byte % 8)).unwrap();
            match open_log(&disk) {
                Ok(log) => {
                    let registry = Registry::open(log).unwrap();
                    assert!(may_be(&registry.state()), "{} at {byte}", path.display());
                    opened += 1;
                }
                Err(error) => {
                    assert!(
                        matches!(error.kind(), ErrorKind::Corrupt { file, .. } if *file == path),
                        "{} at {byte}: {error}",
                        path.display()
                    );
                    named += 1;
                }
            }
        }
    }
    (named, opened)
}

#[test]
fn every_turned_byte_is_named_or_costs_the_last_change_of_a_killed_process_at_most() {
    let disk = SimDisk::new();
    let registry = open(&disk);
    let states = change(&registry, CHANGES.len());
    let log_of_all = registry.files().unwrap();
    assert!(log_of_all.len() > 2);
    disk.kill();
    drop(registry);
    let (named, opened) = turn_every_byte(&disk, &|state| states[states.len() - 2..].iter().any(|one| **one == *state));
    assert!(named > 10 * opened, "killed: {named} named, {opened} opened");
    // One that has ended in order has sealed its log: nothing is taken for a torn write.
    let log = open_log(&disk).unwrap();
    log.close().unwrap();
    drop(log);
    let (named, opened) = turn_every_byte(&disk, &|state| *state == **states.last().unwrap());
    assert!(named > 10 * opened, "closed: {named} named, {opened} opened");
    println!("registry: {named} bytes named, {opened} harmless, 0 wrong");
}

#[test]
fn its_files_hold_every_change_that_has_returned() {
    let disk = SimDisk::new();
    let registry = open(&disk);
    for (count, change) in CHANGES.iter().enumerate() {
        change(&registry).unwrap();
        let copy = SimDisk::new();
        for file in registry.files().unwrap() {
            let mut bytes = vec![0; usize::try_from(file.bytes()).unwrap()];
            file.read_exact_at(&mut bytes, 0).unwrap();
            copy.put(&Path::new(DIR).join(file.name()), bytes);
        }
        assert_eq!(*open(&copy).state(), *registry.state(), "{count}");
    }
}
