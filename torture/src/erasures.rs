//! Erasures as a client knows them: which were accepted, which are done, and one of which nobody knows.
//!
//! An erasure that is answered with 503, or not at all, may be accepted or not: what it means may be there until a later
//! answer tells. Only a start reads what was written down, so the first list after a start is that answer. Meanwhile no
//! other erasure is asked for.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::Result;
use crate::http::{Answer, Client};
use crate::load::Notes;
use crate::oracle::Violation;

/// What a client knows of erasures.
#[derive(Debug, Default)]
pub struct Erasures {
    /// By their ids.
    accepted: BTreeMap<String, Accepted>,
    /// The session of an erasure that was asked for: accepted or not.
    unknown: Option<String>,
    /// How many became known as accepted, or as not accepted, only after the next start.
    pub told_later: [u64; 2],
    /// How many a start found accepted and not done.
    pub taken_up: u64,
}

#[derive(Debug)]
struct Accepted {
    session: String,
    events: u64,
    is_done: bool,
}

/// An erasure as an answer shows it.
#[derive(Clone, Debug, Deserialize)]
pub struct Shown {
    id: String,
    state: String,
    events: u64,
}

#[derive(Deserialize)]
struct List {
    erasures: Vec<Shown>,
}

impl Erasures {
    /// Asks for a session to be erased. Nobody may be sending to it. True if that was accepted: from then on nobody sees it.
    ///
    /// # Errors
    /// There was no answer.
    pub fn ask(&mut self, client: &mut Client, notes: &Notes, session: &str) -> Result<bool> {
        self.unknown = Some(session.to_owned());
        notes.write(&format!("erase {session}"));
        let body = format!(r#"{{"session_id":"{session}"}}"#);
        let answer = client.post("/v1/erasures", "application/json", body.as_bytes())?;
        match answer.status {
            200 => {
                self.learn_accepted(notes, &serde_json::from_slice(&answer.body)?);
                self.look_at_once(client, notes, session)?;
                Ok(true)
            }
            503 => Ok(false),
            _ => {
                notes.find(Violation::NotRecovered, refused("an erasure", &answer));
                Ok(false)
            }
        }
    }

    /// What was accepted is hidden from the next answer on.
    fn look_at_once(&self, client: &mut Client, notes: &Notes, session: &str) -> Result<()> {
        let path = crate::observe::session_path(session, 10, None);
        let answer = client.get(&path)?;
        if answer.status == 200 && !crate::observe::Page::read(&answer.body)?.rows.is_empty() {
            notes.find(Violation::NotErased, format!("{session} is shown after its erasure was accepted"));
        }
        Ok(())
    }

    /// Looks at all of them. True if none is under way.
    ///
    /// # Errors
    /// There was no answer.
    pub fn look(&mut self, client: &mut Client, notes: &Notes) -> Result<bool> {
        let answer = client.get("/v1/erasures")?;
        if answer.status != 200 {
            notes.find(Violation::NotRecovered, refused("the list of erasures", &answer));
            return Ok(false);
        }
        let list: List = serde_json::from_slice(&answer.body)?;
        self.learn(notes, &list.erasures);
        Ok(list.erasures.iter().all(|shown| shown.state == "done"))
    }

    /// The first look after a start: it tells what became of the one that nobody knew of.
    ///
    /// # Errors
    /// There was no answer.
    pub fn look_after_start(&mut self, client: &mut Client, notes: &Notes) -> Result<()> {
        self.taken_up += self.accepted.values().filter(|accepted| !accepted.is_done).count() as u64;
        let known = self.accepted.len();
        let was_unknown = self.unknown.is_some();
        self.look(client, notes)?;
        if was_unknown {
            let is_accepted = self.accepted.len() > known;
            self.taken_up += u64::from(is_accepted);
            self.told_later[usize::from(!is_accepted)] += 1;
            self.unknown = None;
        }
        Ok(())
    }

    /// Holds a list against what is known.
    fn learn(&mut self, notes: &Notes, list: &[Shown]) {
        for (id, accepted) in &mut self.accepted {
            let Some(shown) = list.iter().find(|shown| shown.id == *id) else {
                let detail = format!("the erasure {id} of {} was accepted, and nobody knows it", accepted.session);
                notes.find(Violation::NotErased, detail);
                continue;
            };
            if accepted.is_done && shown.state != "done" {
                let detail = format!("the erasure {id} of {} was done and is {}", accepted.session, shown.state);
                notes.find(Violation::NotErased, detail);
            }
            if accepted.events != shown.events {
                let detail = format!("the erasure {id} had {} events and has {}", accepted.events, shown.events);
                notes.find(Violation::Changed, detail);
            }
            accepted.is_done |= shown.state == "done";
        }
        for shown in list.iter().filter(|shown| !self.accepted.contains_key(&shown.id)).cloned().collect::<Vec<_>>() {
            self.learn_accepted(notes, &shown);
        }
    }

    fn learn_accepted(&mut self, notes: &Notes, shown: &Shown) {
        let Some(session) = self.unknown.take() else {
            notes.find(Violation::Invented, format!("nobody asked for the erasure {}", shown.id));
            return;
        };
        notes.write(&format!("erased {session} by {}: {}", shown.id, shown.events));
        notes.witness().erased(std::slice::from_ref(&session), shown.events);
        let accepted = Accepted { session, events: shown.events, is_done: shown.state == "done" };
        self.accepted.insert(shown.id.clone(), accepted);
    }

    /// True if it is not known whether the last one was accepted.
    #[must_use]
    pub const fn is_unknown(&self) -> bool {
        self.unknown.is_some()
    }

    /// How many were accepted.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.accepted.len() as u64
    }

    /// How many events they chose.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.accepted.values().map(|accepted| accepted.events).sum()
    }
}

fn refused(what: &str, answer: &Answer) -> String {
    format!("{what} is answered with {}: {}", answer.status, answer.text())
}

#[cfg(test)]
mod tests {
    use eye_event::Problems;

    use super::*;
    use crate::oracle::{Said, Sent};

    fn shown(id: &str, state: &str, events: u64) -> Shown {
        Shown { id: id.to_owned(), state: state.to_owned(), events }
    }

    /// What is found when, after one erasure was accepted, and of another it is not known, these lists are shown.
    fn found(lists: &[Vec<Shown>]) -> String {
        let folder = tempfile::tempdir().unwrap();
        let notes = Notes::new(&folder.path().join("journal")).unwrap();
        for session in ["one", "other"] {
            let sent = Sent::new(session, Some(1), Problems::NONE, Said::default().digest());
            notes.witness().will_send("default", session.to_owned(), sent);
        }
        let mut erasures = Erasures { unknown: Some("one".to_owned()), ..Erasures::default() };
        erasures.learn_accepted(&notes, &shown("a", "running", 1));
        erasures.unknown = Some("other".to_owned());
        for list in lists {
            erasures.learn(&notes, list);
        }
        notes.witness().findings.names()
    }

    #[test]
    fn an_erasure_is_known_for_ever_and_done_once() {
        // States of the one that was accepted, then of those that nobody knew of.
        let list = |states: &[&str]| -> Vec<Shown> {
            ["a", "b", "c"].into_iter().zip(states).map(|(id, state)| shown(id, state, 1)).collect()
        };
        assert_eq!(found(&[list(&["running"]), list(&["done"]), list(&["done"])]), "");
        assert_eq!(found(&[list(&["done", "running"])]), "", "the one that nobody knew of");
        assert_eq!(found(&[list(&[])]), "NotErased 1");
        assert_eq!(found(&[list(&["done"]), list(&["running"])]), "NotErased 1");
        assert_eq!(found(&[vec![shown("a", "done", 2)]]), "Changed 1");
        assert_eq!(found(&[list(&["done", "running", "running"])]), "Invented 1");
    }
}
