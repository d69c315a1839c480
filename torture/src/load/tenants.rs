//! [`Tokens`]: the applications that clients belong to, and of each a token that sees its own only.
//!
//! The rule: a token whose making was answered works for ever, whatever happens to the server.

use serde::Deserialize;

use super::notes::Notes;
use crate::Result;
use crate::http::Client;

/// The applications. A first start makes the first one; the command line's token, which sees all of them, writes to it.
pub const APPLICATIONS: [&str; 2] = ["default", "other"];
/// What may be answered to whoever makes something: made, there already, or not at the moment.
const MAKE_STATUSES: &[u16] = &[201, 409, 503, 507];

/// A token of each application, once it is made.
#[derive(Debug, Default)]
pub struct Tokens {
    secrets: [Option<String>; APPLICATIONS.len()],
    tries: u64,
}

#[derive(Deserialize)]
struct Made {
    token: String,
}

impl Tokens {
    /// Makes those that are not there yet. A fault may prevent it: then their clients rest until it is tried again.
    pub fn make(&mut self, client: &mut Client, notes: &Notes) {
        for (secret, application) in self.secrets.iter_mut().zip(APPLICATIONS) {
            if secret.is_none() {
                self.tries += 1;
                *secret = make(client, notes, application, self.tries).ok().flatten();
            }
        }
    }

    /// The applications that have one, each with it.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &str)> {
        APPLICATIONS.into_iter().zip(&self.secrets).filter_map(|(name, secret)| Some((name, secret.as_deref()?)))
    }

    /// The token of one.
    pub(super) fn of(&self, application: &str) -> Option<&str> {
        self.iter().find(|(name, _)| *name == application).map(|(_, secret)| secret)
    }
}

/// `None` if the server refuses, as it may. `number`: a try whose answer was lost may have used up a name.
fn make(client: &mut Client, notes: &Notes, application: &str, number: u64) -> Result<Option<String>> {
    let body = format!(r#"{{"name":"{application}"}}"#);
    let answer = client.post("/v1/applications", "application/json", body.as_bytes())?;
    notes.judge_status("/v1/applications", &answer, MAKE_STATUSES);
    if !matches!(answer.status, 201 | 409) {
        return Ok(None);
    }
    let body = format!(r#"{{"name":"{application} {number}","kind":"secret","application":"{application}"}}"#);
    let answer = client.post("/v1/tokens", "application/json", body.as_bytes())?;
    notes.judge_status("/v1/tokens", &answer, MAKE_STATUSES);
    if answer.status != 201 {
        return Ok(None);
    }
    let made: Made = serde_json::from_slice(&answer.body)?;
    notes.write(&format!("token {number} of {application}"));
    Ok(Some(made.token))
}
