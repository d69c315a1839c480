//! What was acknowledged is there after opening the same log again; what cannot be believed is refused by name.

use std::sync::Arc;
use std::time::Duration;

use eye_log::memory::MemoryLog;
use eye_log::{ErrorKind, Log, NewRecord, Offset, Record, append_blocking};
use eye_registry::{Denied, Error, NewToken, Registry, Role, TokenId};

use crate::support::{CLI, at, empty, everything, fill_up, log_of, new_user, open, payloads, secret_token, with_shop};

#[test]
fn everything_is_the_same_after_reopening() {
    let all = everything();
    let again = open(&all.log);
    assert_eq!(*again.state(), *all.registry.state());
    assert_eq!(again.audit(None, 100).unwrap(), all.registry.audit(None, 100).unwrap());
    for secret in &all.secrets {
        for seconds in [0, 12, 64, 65, 999, 1_004, 1_005, 1_000_000] {
            let now = at(seconds);
            assert_eq!(again.authenticate(secret.reveal(), now), all.registry.authenticate(secret.reveal(), now));
        }
    }
    let used = all.registry.state().find_token("seed client").unwrap().last_used_at();
    assert_eq!(used, Some(at(10)));
    assert_eq!(again.persist_last_used(at(20)).unwrap(), 0, "nothing new to keep");
}

#[test]
fn every_prefix_of_the_log_is_a_registry() {
    let records = payloads(&everything().log);
    for length in 0..=records.len() {
        assert!(Registry::open(log_of(&records[..length])).is_ok(), "{length}");
    }
}

#[test]
fn a_failed_append_changes_nothing() {
    let (registry, log) = with_shop();
    let (token, secret) = registry.create_token(&CLI, at(1), secret_token("a")).unwrap();
    let before = registry.state();
    let full = |change: &dyn Fn() -> Result<(), Error>| {
        fill_up(&log);
        change()
    };
    let failed = [
        full(&|| registry.create_application(&CLI, at(2), "other", None).map(drop)),
        full(&|| registry.create_token(&CLI, at(2), secret_token("b")).map(drop)),
        full(&|| registry.rotate_token(&CLI, at(2), &token.id, Duration::ZERO).map(drop)),
        full(&|| registry.revoke_token(&CLI, at(2), &token.id).map(drop)),
        full(&|| registry.create_user(&CLI, at(2), new_user("ada", Role::Admin)).map(drop)),
        full(&|| registry.create_setup_code(at(2)).map(drop)),
    ];
    for result in failed {
        assert!(matches!(result, Err(Error::Log(error)) if *error.kind() == ErrorKind::Full));
    }
    registry.note_used(&token.id, at(3));
    fill_up(&log);
    assert!(registry.persist_last_used(at(3)).is_err());
    assert_eq!(*registry.state(), *before);
    assert_eq!(registry.audit(None, 10).unwrap().len(), 2);
    assert!(registry.authenticate(secret.reveal(), at(3)).is_ok());
    assert_eq!(registry.persist_last_used(at(4)).unwrap(), 1, "what failed is tried again");
    registry.create_application(&CLI, at(4), "other", None).unwrap();
    assert_eq!(*open(&log).state(), *registry.state());
}

#[test]
fn a_record_of_a_newer_version_refuses_to_open() {
    let mut records = payloads(&with_shop().1);
    let newer = r#"{"v":1,"at":"2026-11-23T18:00:00.000000Z","by":"system","type":"contract_added","name":"x"}"#;
    records.push(newer.into());
    match Registry::open(log_of(&records)) {
        Err(Error::Corrupt { offset, message }) => {
            assert_eq!(offset, Offset(2));
            assert!(message.contains("contract_added") && message.contains("newer version"), "{message}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn damage_refuses_to_open_and_names_the_record() {
    let records = payloads(&everything().log);
    for (index, payload) in records.iter().enumerate() {
        let mut damaged = records.clone();
        damaged[index] = payload[..payload.len() - 1].to_vec();
        match Registry::open(log_of(&damaged)) {
            Err(Error::Corrupt { offset, .. }) => assert_eq!(offset, Offset(index as u64 + 1)),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_record_twice_or_too_early_refuses_to_open() {
    let records = payloads(&everything().log);
    // A set-up code may be made again, a user changed again and a use noted again: those say the same twice.
    let repeatable = |payload: &[u8]| {
        let text = String::from_utf8_lossy(payload);
        ["setup_code_created", "user_updated", "tokens_used"].iter().any(|kind| text.contains(kind))
    };
    for (index, payload) in records.iter().enumerate().filter(|(_, payload)| !repeatable(payload)) {
        let mut twice = records.clone();
        twice.insert(index + 1, payload.clone());
        match Registry::open(log_of(&twice)) {
            Err(Error::Corrupt { offset, .. }) => assert_eq!(offset, Offset(index as u64 + 2), "record {index}"),
            other => panic!("record {index}: {other:?}"),
        }
    }
    for missing in [0, 1, 3, 4, 6, 8] {
        let mut without = records.clone();
        without.remove(missing);
        assert!(matches!(Registry::open(log_of(&without)), Err(Error::Corrupt { .. })), "without {missing}");
    }
}

#[test]
fn a_token_that_was_revoked_or_rotated_before_is_not_rotated() {
    let (registry, log) = with_shop();
    let (doomed, _) = registry.create_token(&CLI, at(1), secret_token("doomed")).unwrap();
    let (other, _) = registry.create_token(&CLI, at(2), secret_token("other")).unwrap();
    let before = payloads(&log);
    let rotation = |of: &TokenId| {
        let (rotated, _) = registry.rotate_token(&CLI, at(3), of, Duration::from_secs(60)).unwrap();
        (rotated, payloads(&log).pop().unwrap())
    };
    let ((successor, first), (_, of_other)) = (rotation(&doomed.id), rotation(&other.id));
    let (_, of_successor) = rotation(&successor.id);
    registry.revoke_token(&CLI, at(4), &other.id).unwrap();
    let revoked = payloads(&log).pop().unwrap();
    let opens = |more: &[&Vec<u8>]| {
        let more = more.iter().map(|payload| payload.to_vec()).collect();
        Registry::open(log_of(&[before.clone(), more].concat())).map(drop)
    };
    opens(&[&first, &of_other, &of_successor, &revoked]).unwrap();
    // As a second rotation would have written it, for a successor of its own.
    let again =
        String::from_utf8(of_successor).unwrap().replace(successor.id.as_str(), doomed.id.as_str()).into_bytes();
    opens(&[&again]).unwrap();
    for wrong in [&[&first, &again][..], &[&revoked, &of_other]] {
        match opens(wrong) {
            Err(Error::Corrupt { offset, message }) => {
                assert_eq!(offset, Offset(before.len() as u64 + 2));
                assert!(message.contains("revoked or rotated before"), "{message}");
            }
            other => panic!("{other:?}"),
        }
    }
}

/// A log that says it is longer than what it gives.
struct Silent {
    inner: MemoryLog,
    /// Given for whatever is asked beyond its records.
    beyond: Vec<Record>,
}

impl Log for Silent {
    fn append(&self, record: NewRecord) {
        self.inner.append(record);
    }

    fn read(&self, from: Offset, bytes_max: usize) -> eye_log::Result<Vec<Record>> {
        match self.inner.read(from, bytes_max)? {
            none if none.is_empty() => Ok(self.beyond.clone()),
            records => Ok(records),
        }
    }

    fn wait_past(&self, offset: Offset, timeout: Duration) -> eye_log::Result<Offset> {
        self.inner.wait_past(offset, timeout)
    }

    fn start(&self) -> Offset {
        self.inner.start()
    }

    fn end(&self) -> Offset {
        self.inner.end().plus(1)
    }

    fn trim(&self, before: Offset) -> eye_log::Result<()> {
        self.inner.trim(before)
    }

    fn close(&self) -> eye_log::Result<()> {
        self.inner.close()
    }

    fn bytes_on_disk(&self) -> u64 {
        self.inner.bytes_on_disk()
    }

    fn health(&self) -> eye_log::Result<()> {
        self.inner.health()
    }
}

#[test]
fn a_log_that_gives_nothing_before_its_end_refuses_to_open() {
    let tokens_used = r#"{"v":1,"at":"2026-11-23T18:00:00.000000Z","by":"system","type":"tokens_used","tokens":{}}"#;
    let records = log_of(&[tokens_used]).read(Offset::FIRST, usize::MAX).unwrap();
    assert!(Registry::open(log_of(&[tokens_used])).is_ok());
    for beyond in [Vec::new(), records] {
        let inner = MemoryLog::new();
        append_blocking(&inner, tokens_used.as_bytes().to_vec().into(), 1).unwrap();
        match Registry::open(Arc::new(Silent { inner, beyond })) {
            Err(error) => assert!(error.to_string().contains("gives nothing at"), "{error}"),
            Ok(_) => panic!("opened without its last record"),
        }
    }
}

#[test]
fn a_trimmed_log_refuses_to_open() {
    let log = with_shop().1;
    log.trim(Offset(2)).unwrap();
    assert!(matches!(Registry::open(log), Err(Error::Corrupt { .. })));
}

#[test]
fn an_empty_log_is_an_empty_registry() {
    let (registry, log) = empty();
    assert!(registry.state().applications().is_empty() && registry.state().tokens().is_empty());
    assert!(registry.audit(None, 10).unwrap().is_empty());
    assert!(payloads(&log).is_empty(), "opening writes nothing");
}

#[test]
fn one_of_many_makers_of_the_same_name_wins() {
    let (registry, log) = with_shop();
    let outcomes: Vec<[bool; 3]> = std::thread::scope(|scope| {
        let make = || {
            [
                registry.create_application(&CLI, at(1), "same", None).is_ok(),
                registry
                    .create_token(
                        &CLI,
                        at(1),
                        NewToken { application: Some("shop".to_owned()), ..secret_token("same") },
                    )
                    .is_ok(),
                registry.create_user(&CLI, at(1), new_user("Same", Role::Viewer)).is_ok(),
            ]
        };
        let makers: Vec<_> = (0..8).map(|_| scope.spawn(make)).collect();
        makers.into_iter().map(|maker| maker.join().unwrap()).collect()
    });
    for what in 0..3 {
        assert_eq!(outcomes.iter().filter(|outcome| outcome[what]).count(), 1, "{outcomes:?}");
    }
    assert_eq!(registry.audit(None, 100).unwrap().len(), 4);
    assert_eq!(*open(&log).state(), *registry.state());
}

#[test]
fn a_change_shows_when_it_is_durable_and_not_before() {
    let (registry, log) = with_shop();
    let (token, secret) = registry.create_token(&CLI, at(1), secret_token("a")).unwrap();
    log.hold();
    std::thread::scope(|scope| {
        let revoking = scope.spawn(|| registry.revoke_token(&CLI, at(2), &token.id).unwrap());
        while log.held_records() == 0 {
            std::thread::yield_now();
        }
        assert!(!revoking.is_finished());
        assert!(registry.authenticate(secret.reveal(), at(2)).is_ok(), "nobody waits for the writer");
        assert_eq!(registry.audit(None, 10).unwrap().len(), 2);
        log.release();
        assert_eq!(revoking.join().unwrap().revoked_at, Some(at(2)));
    });
    assert_eq!(registry.authenticate(secret.reveal(), at(2)).unwrap_err(), Denied::Revoked);
    assert_eq!(registry.audit(None, 10).unwrap().len(), 3);
}

#[test]
fn a_poisoned_log_takes_no_change_and_goes_on_authenticating() {
    let (registry, log) = with_shop();
    let (token, secret) = registry.create_token(&CLI, at(1), secret_token("a")).unwrap();
    log.fail_next_append(eye_log::Error::new(ErrorKind::Io, "broken"));
    for _ in 0..2 {
        assert!(matches!(registry.revoke_token(&CLI, at(2), &token.id), Err(Error::Log(_))));
    }
    assert!(registry.authenticate(secret.reveal(), at(2)).is_ok());
    assert_eq!(registry.audit(None, 10).unwrap().len(), 2);
}

#[test]
fn readers_see_whole_changes_while_a_writer_works() {
    let (registry, log) = with_shop();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let make = |n| registry.create_token(&CLI, at(n), secret_token(&format!("t{n}"))).unwrap();
            (0..200).fold(None, |_, n| Some(make(n)))
        });
        while !writer.is_finished() {
            let state = registry.state();
            for token in state.tokens() {
                assert_eq!(state.token(&token.id).unwrap().name, token.name);
                assert_eq!(state.find_token(&token.name).unwrap().id, token.id);
            }
        }
        let (_, secret) = writer.join().unwrap().unwrap();
        assert!(registry.authenticate(secret.reveal(), at(300)).is_ok());
    });
    assert_eq!(open(&log).state().tokens().len(), 200);
}
