//! [`State`]: applications, tokens and users as they are after some record, by id and by name.
//!
//! A state is never changed once it is seen: the writer folds the next record into a copy. Folding checks what must
//! hold between records, so a log that contradicts itself is refused and never half believed:
//! - ids, hashes and names are there once;
//! - whatever a record refers to came before it;
//! - a revoked token stays revoked, and a token is rotated once;
//! - a set-up code is redeemed once, and making an administrator voids it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use eye_event::Timestamp;

use crate::application::Application;
use crate::error::Denied;
use crate::id::{Actor, ApplicationName, TokenId, UserId};
use crate::record::{Fact, Record, TokenFacts, TokenRotated, UserCreated, UserUpdated};
use crate::secret::SecretHash;
use crate::token::{Grant, LastUsed, Scopes, Token};
use crate::user::{Role, User, name_key};

/// An immutable picture of the registry.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    applications: Vec<Arc<Application>>,
    tokens: Vec<Arc<Token>>,
    users: Vec<Arc<User>>,
    application_by_name: HashMap<ApplicationName, usize>,
    token_by_id: HashMap<TokenId, usize>,
    /// Names of tokens that are neither revoked nor rotated away.
    token_by_name: HashMap<String, usize>,
    user_by_id: HashMap<UserId, usize>,
    user_by_name: HashMap<String, usize>,
    credentials: HashMap<SecretHash, Credential>,
    setup: Option<SetupCode>,
}

/// What a secret opens, ready to be handed out.
#[derive(Clone, Debug, PartialEq)]
struct Credential {
    grant: Arc<Grant>,
    revoked: bool,
    expires_at: Option<Timestamp>,
    user_active: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SetupCode {
    pub(crate) hash: SecretHash,
    pub(crate) expires_at: Timestamp,
}

/// Why a record does not follow from the ones before it.
type Contradiction = &'static str;

impl State {
    /// Every application, the oldest first.
    #[must_use]
    pub fn applications(&self) -> &[Arc<Application>] {
        &self.applications
    }

    /// Every token, revoked and expired ones included, the oldest first.
    #[must_use]
    pub fn tokens(&self) -> &[Arc<Token>] {
        &self.tokens
    }

    /// Every user, inactive ones included, the oldest first.
    #[must_use]
    pub fn users(&self) -> &[Arc<User>] {
        &self.users
    }

    /// The application of this name.
    #[must_use]
    pub fn application(&self, name: &str) -> Option<&Arc<Application>> {
        self.application_by_name.get(name).map(|index| &self.applications[*index])
    }

    /// The token of this id.
    #[must_use]
    pub fn token(&self, id: &TokenId) -> Option<&Arc<Token>> {
        self.token_by_id.get(id).map(|index| &self.tokens[*index])
    }

    /// The token of this id, or of this name if it is neither revoked nor rotated away.
    #[must_use]
    pub fn find_token(&self, id_or_name: &str) -> Option<&Arc<Token>> {
        let index = self.token_by_id.get(id_or_name).or_else(|| self.token_by_name.get(id_or_name))?;
        Some(&self.tokens[*index])
    }

    /// The user of this id.
    #[must_use]
    pub fn user(&self, id: &UserId) -> Option<&Arc<User>> {
        self.user_by_id.get(id).map(|index| &self.users[*index])
    }

    /// The user of this name, upper and lower case alike.
    #[must_use]
    pub fn user_named(&self, name: &str) -> Option<&Arc<User>> {
        self.user_by_name.get(&name_key(name)).map(|index| &self.users[*index])
    }

    /// The user of this id or name.
    #[must_use]
    pub fn find_user(&self, id_or_name: &str) -> Option<&Arc<User>> {
        let by_id = self.user_by_id.get(id_or_name).map(|index| &self.users[*index]);
        by_id.or_else(|| self.user_named(id_or_name))
    }

    /// True if there is an administrator, active or not.
    #[must_use]
    pub fn has_admin(&self) -> bool {
        self.users.iter().any(|user| user.role == Role::Admin)
    }

    pub(crate) fn setup_code(&self) -> Option<&SetupCode> {
        self.setup.as_ref()
    }

    pub(crate) fn knows_secret(&self, hash: &SecretHash) -> bool {
        self.credentials.contains_key(hash)
    }

    pub(crate) fn is_token_name_taken(&self, name: &str) -> bool {
        self.token_by_name.contains_key(name)
    }

    /// What the secret with this hash opens at this moment. Looking a hash up in a map takes a time that depends on
    /// the hash; nobody can choose a secret by its SHA-256, so that says nothing about any secret.
    pub(crate) fn authenticate(&self, hash: &SecretHash, now: Timestamp) -> Result<Arc<Grant>, Denied> {
        let credential = self.credentials.get(hash).ok_or(Denied::Unknown)?;
        if credential.revoked {
            return Err(Denied::Revoked);
        }
        if credential.expires_at.is_some_and(|end| now >= end) {
            return Err(Denied::Expired);
        }
        if !credential.user_active {
            return Err(Denied::UserInactive);
        }
        Ok(Arc::clone(&credential.grant))
    }

    /// Folds the next record in. After an error the state is of no use.
    pub(crate) fn fold(&mut self, record: &Record) -> Result<(), Contradiction> {
        let Record { at, by, fact } = record;
        match fact {
            Fact::ApplicationCreated(new) => {
                let application = Application {
                    name: new.name.clone(),
                    title: new.title.clone(),
                    created_at: *at,
                    created_by: by.clone(),
                };
                self.add_application(application)
            }
            Fact::TokenCreated(token) => self.add_token(token, *at, by),
            Fact::TokenRotated(rotated) => self.rotate_token(rotated, *at, by),
            Fact::TokenRevoked(revoked) => self.revoke_token(&revoked.id, *at),
            Fact::UserCreated(created) => self.add_user(created, *at, by),
            Fact::UserUpdated(updated) => self.update_user(updated),
            Fact::SetupCodeCreated(code) => {
                self.setup = Some(SetupCode { hash: code.hash, expires_at: code.expires_at });
                Ok(())
            }
            Fact::SetupCodeRedeemed(created) => {
                self.setup.take().ok_or("it redeems a set-up code that is not there")?;
                self.add_user(created, *at, by)
            }
            // Of the store: here it is only known who did it.
            Fact::ErasureRequested(_) | Fact::ErasureCancelled(_) => Ok(()),
            Fact::TokensUsed(used) => used.tokens.iter().try_for_each(|(id, at)| self.save_last_use(id, *at)),
        }
    }

    fn add_application(&mut self, application: Application) -> Result<(), Contradiction> {
        let taken = self.application_by_name.insert(application.name.clone(), self.applications.len());
        self.applications.push(Arc::new(application));
        once(taken, "it makes an application that is there already")
    }

    fn add_token(&mut self, facts: &TokenFacts, at: Timestamp, by: &Actor) -> Result<(), Contradiction> {
        if facts.application.as_ref().is_some_and(|name| self.application(name.as_str()).is_none()) {
            return Err("it makes a token for an application that is not there");
        }
        if facts.user.as_ref().is_some_and(|id| self.user(id).is_none()) {
            return Err("it makes a token for a user who is not there");
        }
        if facts.scopes.is_none() && facts.user.is_none() {
            return Err("it makes a token without scopes");
        }
        if self.knows_secret(&facts.hash) {
            return Err("it makes a token whose secret is there already");
        }
        let index = self.tokens.len();
        self.tokens.push(Arc::new(Token {
            id: facts.id.clone(),
            name: facts.name.clone(),
            kind: facts.kind,
            application: facts.application.clone(),
            scopes: facts.scopes.unwrap_or_default(),
            reads_all: facts.reads_all,
            user: facts.user.clone(),
            imported: facts.imported,
            created_at: at,
            created_by: by.clone(),
            expires_at: facts.expires_at,
            revoked_at: None,
            replaced_by: None,
            replaces: None,
            granted: facts.scopes,
            hash: facts.hash,
            last_used_saved: None,
            last_used: LastUsed::never(),
        }));
        once(self.token_by_id.insert(facts.id.clone(), index), "it makes a token whose id is there already")?;
        once(self.token_by_name.insert(facts.name.clone(), index), "it makes a token whose name is there already")?;
        self.refresh(index);
        Ok(())
    }

    fn rotate_token(&mut self, rotated: &TokenRotated, at: Timestamp, by: &Actor) -> Result<(), Contradiction> {
        let index = *self.token_by_id.get(&rotated.old).ok_or("it rotates a token that is not there")?;
        let old = Arc::make_mut(&mut self.tokens[index]);
        if old.revoked_at.is_some() || old.replaced_by.is_some() {
            return Err("it rotates a token that was revoked or rotated before");
        }
        old.expires_at = Some(rotated.old_expires_at);
        old.replaced_by = Some(rotated.token.id.clone());
        self.token_by_name.remove(&self.tokens[index].name);
        self.refresh(index);
        let new_index = self.tokens.len();
        self.add_token(&rotated.token, at, by)?;
        Arc::make_mut(&mut self.tokens[new_index]).replaces = Some(rotated.old.clone());
        Ok(())
    }

    fn revoke_token(&mut self, id: &TokenId, at: Timestamp) -> Result<(), Contradiction> {
        let index = *self.token_by_id.get(id).ok_or("it revokes a token that is not there")?;
        let token = Arc::make_mut(&mut self.tokens[index]);
        if token.revoked_at.replace(at).is_some() {
            return Err("it revokes a token that was revoked before");
        }
        // A token that was rotated away gave its name to the one that took its place.
        if token.replaced_by.is_none() {
            self.token_by_name.remove(&self.tokens[index].name);
        }
        self.refresh(index);
        Ok(())
    }

    fn add_user(&mut self, created: &UserCreated, at: Timestamp, by: &Actor) -> Result<(), Contradiction> {
        let facts = &created.user;
        if facts.password_hash.as_ref().is_some_and(|hash| !hash.is_readable()) {
            return Err("it holds a password hash that cannot be read");
        }
        if created.token.user.as_ref() != Some(&facts.id) {
            return Err("it makes a user with somebody else's token");
        }
        let index = self.users.len();
        self.users.push(Arc::new(User {
            id: facts.id.clone(),
            name: facts.name.clone(),
            role: facts.role,
            active: true,
            created_at: at,
            created_by: by.clone(),
            password: facts.password_hash.clone(),
        }));
        once(self.user_by_id.insert(facts.id.clone(), index), "it makes a user whose id is there already")?;
        once(self.user_by_name.insert(name_key(&facts.name), index), "it makes a user whose name is there already")?;
        self.void_setup_code(facts.role);
        self.add_token(&created.token, at, by)
    }

    fn update_user(&mut self, updated: &UserUpdated) -> Result<(), Contradiction> {
        if updated.password_hash.as_ref().is_some_and(|hash| !hash.is_readable()) {
            return Err("it holds a password hash that cannot be read");
        }
        let index = *self.user_by_id.get(&updated.id).ok_or("it changes a user who is not there")?;
        let user = Arc::make_mut(&mut self.users[index]);
        user.active = updated.active.unwrap_or(user.active);
        user.role = updated.role.unwrap_or(user.role);
        user.password = updated.password_hash.clone().or_else(|| user.password.take());
        let role = user.role;
        self.void_setup_code(role);
        for index in 0..self.tokens.len() {
            if self.tokens[index].user.as_ref() == Some(&updated.id) {
                self.refresh(index);
            }
        }
        Ok(())
    }

    /// A code that was never used must not come to life again after the administrator it was not needed for.
    fn void_setup_code(&mut self, made: Role) {
        if made == Role::Admin {
            self.setup = None;
        }
    }

    fn save_last_use(&mut self, id: &TokenId, at: Timestamp) -> Result<(), Contradiction> {
        let index = *self.token_by_id.get(id).ok_or("it notes the use of a token that is not there")?;
        let token = Arc::make_mut(&mut self.tokens[index]);
        token.last_used_saved = token.last_used_saved.max(Some(at));
        token.last_used.note(at);
        Ok(())
    }

    /// Works out what this token allows, from the token and its user.
    fn refresh(&mut self, index: usize) {
        let token = &self.tokens[index];
        let user = token.user.as_ref().and_then(|id| self.user(id));
        let role = user.map(|user| user.role);
        let user_active = user.is_none_or(|user| user.active);
        let allowed = role.map_or(token.kind.scopes_max(), Role::scopes).and(token.kind.scopes_max());
        let scopes = token.granted.map_or(allowed, |granted| granted.and(allowed));
        // Nothing is written without an application to write it to.
        let scopes = Scopes { write: scopes.write && token.application.is_some(), ..scopes };
        let grant = Grant {
            token: token.id.clone(),
            name: token.name.as_str().into(),
            application: token.application.as_ref().map(ApplicationName::to_shared),
            scopes,
            reads_all: token.reads_all,
            user: token.user.clone(),
            role,
        };
        let credential = Credential {
            grant: Arc::new(grant),
            revoked: token.revoked_at.is_some(),
            expires_at: token.expires_at,
            user_active,
        };
        self.credentials.insert(token.hash, credential);
        Arc::make_mut(&mut self.tokens[index]).scopes = scopes;
    }

    /// The uses that the log does not know yet; those only that came so long after the one it knows.
    pub(crate) fn unsaved_uses(&self, after: Duration) -> Vec<(TokenId, Timestamp)> {
        let after = i64::try_from(after.as_micros()).unwrap_or(i64::MAX);
        let unsaved = |token: &Arc<Token>| {
            let last = token.last_used.get()?;
            let is_unsaved = token
                .last_used_saved
                .is_none_or(|saved| last > saved && last.micros().saturating_sub(saved.micros()) >= after);
            is_unsaved.then(|| (token.id.clone(), last))
        };
        self.tokens.iter().filter_map(unsaved).collect()
    }
}

fn once(before: Option<usize>, contradiction: Contradiction) -> Result<(), Contradiction> {
    before.map_or(Ok(()), |_| Err(contradiction))
}
