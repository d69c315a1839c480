//! Making, rotating and revoking tokens.

use std::time::Duration;

use eye_event::Timestamp;

use super::{Registry, check_room, made};
use crate::application::check_label;
use crate::error::{Error, Result};
use crate::id::{Actor, ApplicationName, TokenId, UserId};
use crate::record::{Fact, TokenFacts, TokenRevoked, TokenRotated};
use crate::secret::{Secret, SecretHash};
use crate::state::State;
use crate::token::{NewToken, Scopes, TOKENS_MAX, Token, TokenKind};
use crate::user::Role;

/// How long an old token may stay beside the one that took its place.
const OVERLAP_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);

impl Registry {
    /// Makes a token. When it returns, the token survives a crash and opens what it should. The secret is shown here
    /// and never again.
    ///
    /// # Errors
    /// `Invalid` for what does not fit together (see [`NewToken`]); `NotFound` for an application or user who is not
    /// there; `Exists` if the name is taken or the imported text is a token already; `Log`.
    pub fn create_token(&self, actor: &Actor, now: Timestamp, new: NewToken) -> Result<(Token, Secret)> {
        check_label("name", &new.name)?;
        let secret = match &new.import {
            Some(text) => Secret::import(text, new.kind)?,
            None => Secret::generate(new.kind.prefix())?,
        };
        let id = TokenId::generate()?;
        let state = self.commit(actor, now, |state| {
            token_facts(state, now, &new, id.clone(), secret.hash()).map(Fact::TokenCreated)
        })?;
        Ok((made(state.token(&id))?, secret))
    }

    /// Makes a token that takes the place of another: its name, kind, scopes and lifetime. The old one works for
    /// `overlap` more, or until its own end if that comes sooner. When it returns, both survive a crash.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` if the token was revoked, has expired or was rotated before, or if the overlap is more
    /// than 365 days; `Log`.
    pub fn rotate_token(
        &self,
        actor: &Actor,
        now: Timestamp,
        id: &TokenId,
        overlap: Duration,
    ) -> Result<(Token, Secret)> {
        if overlap > OVERLAP_MAX {
            return Err(Error::invalid("overlap", "send at most 365 days"));
        }
        let overlap_end = later(now, overlap)?;
        let kind = self.state().token(id).ok_or(Error::NotFound { what: "token" })?.kind;
        let secret = Secret::generate(kind.prefix())?;
        let new_id = TokenId::generate()?;
        let state = self.commit(actor, now, |state| {
            let old = state.token(id).ok_or(Error::NotFound { what: "token" })?;
            check_rotation(old, now)?;
            check_room("token", state.tokens().len(), TOKENS_MAX)?;
            let expires_at = old.expires_at.map(|end| renewed(now, old.created_at, end)).transpose()?;
            let old_expires_at = old.expires_at.map_or(overlap_end, |end| end.min(overlap_end));
            let token = successor(old, new_id.clone(), expires_at, secret.hash());
            Ok(Fact::TokenRotated(TokenRotated { old: id.clone(), old_expires_at, token }))
        })?;
        Ok((made(state.token(&new_id))?, secret))
    }

    /// Revokes a token for ever. When it returns, the token opens nothing any more, after a crash neither. Revoking
    /// one that was revoked before changes nothing and writes nothing.
    ///
    /// # Errors
    /// `NotFound`; `Log`: the token still works then.
    pub fn revoke_token(&self, actor: &Actor, now: Timestamp, id: &TokenId) -> Result<Token> {
        let state = self.commit_if(actor, now, |state| {
            let token = state.token(id).ok_or(Error::NotFound { what: "token" })?;
            let is_news = token.revoked_at.is_none();
            Ok(is_news.then(|| Fact::TokenRevoked(TokenRevoked { id: id.clone() })))
        })?;
        made(state.token(id))
    }
}

/// The token that a user gets with the account: it follows the user's role and reads everything.
pub(super) fn facts_for_user(
    state: &State,
    id: TokenId,
    hash: SecretHash,
    user: (&UserId, &str),
    application: Option<&str>,
) -> Result<TokenFacts> {
    check_room("token", state.tokens().len(), TOKENS_MAX)?;
    let application = match application {
        Some(name) => Some(existing_application(state, name)?),
        None => state.applications().first().map(|first| first.name.clone()),
    };
    Ok(TokenFacts {
        id,
        name: free_name(state, user.1),
        kind: TokenKind::Secret,
        application,
        scopes: None,
        reads_all: true,
        user: Some(user.0.clone()),
        expires_at: None,
        imported: false,
        hash,
    })
}

fn token_facts(state: &State, now: Timestamp, new: &NewToken, id: TokenId, hash: SecretHash) -> Result<TokenFacts> {
    check_room("token", state.tokens().len(), TOKENS_MAX)?;
    if state.is_token_name_taken(&new.name) {
        return Err(Error::Exists { what: "a token with this name" });
    }
    if state.knows_secret(&hash) {
        return Err(Error::Exists { what: "a token with this text" });
    }
    check_expiry(new.expires_at, now)?;
    let user = match &new.user {
        Some(text) => Some(state.find_user(text).ok_or(Error::NotFound { what: "user" })?),
        None => None,
    };
    let scopes = granted_scopes(new, user.map(|user| user.role))?;
    let wanted = scopes.or(user.map(|user| user.role.scopes())).unwrap_or_default();
    if new.reads_all && !wanted.read {
        return Err(Error::invalid("reads_all", "a token that does not read cannot read all applications"));
    }
    Ok(TokenFacts {
        id,
        name: new.name.clone(),
        kind: new.kind,
        application: application_for(state, new, wanted)?,
        scopes,
        reads_all: new.reads_all,
        user: user.map(|user| user.id.clone()),
        expires_at: new.expires_at,
        imported: new.import.is_some(),
        hash,
    })
}

/// What the token is given: `None` if it follows its user's role.
fn granted_scopes(new: &NewToken, role: Option<Role>) -> Result<Option<Scopes>> {
    if new.scopes.is_none() && role.is_some() && new.kind == TokenKind::Secret {
        return Ok(None);
    }
    let scopes = new.scopes.unwrap_or(new.kind.scopes_default());
    if scopes == Scopes::NONE {
        return Err(Error::invalid("scopes", "send at least one of write, read, admin"));
    }
    if !new.kind.scopes_max().covers(scopes) {
        return Err(Error::invalid("scopes", format!("a {} token can only {0}: make a secret token", new.kind)));
    }
    if role.is_some_and(|role| !role.scopes().covers(scopes)) {
        return Err(Error::invalid("scopes", "more than the user's role allows: take less, or change the role"));
    }
    Ok(Some(scopes))
}

/// The application a token needs in order to write, or to read without reading all.
fn application_for(state: &State, new: &NewToken, wanted: Scopes) -> Result<Option<ApplicationName>> {
    if let Some(name) = &new.application {
        return existing_application(state, name).map(Some);
    }
    let needs_one = wanted.write || (wanted.read && !new.reads_all);
    match state.applications() {
        _ if !needs_one => Ok(None),
        [only] => Ok(Some(only.name.clone())),
        [] => Err(Error::invalid("application", "there is none yet: make one first")),
        _ => Err(Error::invalid("application", "there are several: say which one")),
    }
}

fn existing_application(state: &State, name: &str) -> Result<ApplicationName> {
    Ok(state.application(name).ok_or(Error::NotFound { what: "application" })?.name.clone())
}

fn check_expiry(expires_at: Option<Timestamp>, now: Timestamp) -> Result<()> {
    match expires_at {
        Some(end) if end <= now => Err(Error::invalid("expires_at", "lies in the past: send a later time, or none")),
        Some(end) => readable(end).map(drop),
        None => Ok(()),
    }
}

fn check_rotation(old: &Token, now: Timestamp) -> Result<()> {
    let why = if old.revoked_at.is_some() {
        "it was revoked: make a new token"
    } else if old.replaced_by.is_some() {
        "it was rotated before: rotate the token that took its place"
    } else if !old.is_live(now) {
        "it has expired: make a new token"
    } else {
        return Ok(());
    };
    Err(Error::invalid("token", why))
}

fn successor(old: &Token, id: TokenId, expires_at: Option<Timestamp>, hash: SecretHash) -> TokenFacts {
    TokenFacts {
        id,
        name: old.name.clone(),
        kind: old.kind,
        application: old.application.clone(),
        scopes: old.granted,
        reads_all: old.reads_all,
        user: old.user.clone(),
        expires_at,
        imported: false,
        hash,
    }
}

/// As long a life as the old token was given, from now.
fn renewed(now: Timestamp, created_at: Timestamp, expires_at: Timestamp) -> Result<Timestamp> {
    let lifetime = expires_at.micros().saturating_sub(created_at.micros()).max(0);
    readable(Timestamp::from_micros(now.micros().saturating_add(lifetime)))
}

pub(super) fn later(now: Timestamp, by: Duration) -> Result<Timestamp> {
    let micros = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
    readable(Timestamp::from_micros(now.micros().saturating_add(micros)))
}

/// A time that reads back as it is written.
fn readable(time: Timestamp) -> Result<Timestamp> {
    if Timestamp::parse(&time.to_string()) == Some(time) {
        return Ok(time);
    }
    Err(Error::invalid("expires_at", "send a time before the year 10000"))
}

/// The name, or the name with the first free number behind it.
fn free_name(state: &State, name: &str) -> String {
    let numbered = (2..).map(|number| format!("{name}-{number}"));
    std::iter::once(name.to_owned())
        .chain(numbered)
        .find(|name| !state.is_token_name_taken(name))
        .unwrap_or_else(|| name.to_owned())
}
