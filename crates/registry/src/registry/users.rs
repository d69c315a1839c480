//! Making and changing users, signing in, and the set-up code of the first administrator.

use std::time::Duration;

use eye_event::Timestamp;

use super::tokens::{facts_for_user, later};
use super::{Registry, check_room, made};
use crate::error::{Denied, Error, Result};
use crate::id::{Actor, TokenId, UserId};
use crate::password::{self, PasswordHash};
use crate::record::{Fact, SetupCodeCreated, UserCreated, UserFacts, UserUpdated};
use crate::secret::{SETUP_PREFIX, Secret, SecretHash};
use crate::state::State;
use crate::token::Token;
use crate::user::{NewUser, Role, USERS_MAX, User, UserChange, check_name};

/// How long a set-up code opens something.
const SETUP_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);
const ADMIN_EXISTS: Error = Error::Denied { message: "there is an administrator already: ask for an account" };
const LAST_ADMIN: Error =
    Error::Denied { message: "this is the last active administrator: make another user an administrator first" };

impl Registry {
    /// Makes a user and a token that follows the user's role: reads all applications, writes to `new.application` or
    /// the first one (to none as long as there is none). When it returns, both survive a crash.
    ///
    /// # Errors
    /// `Invalid` name or password; `NotFound` application; `Exists`; `Log`.
    pub fn create_user(&self, actor: &Actor, now: Timestamp, new: NewUser) -> Result<(User, Token, Secret)> {
        check_new_user(&self.state(), &new)?;
        let made = MadeUser::new(self.hash(new.password.as_deref())?)?;
        let state = self.commit(actor, now, |state| made.facts(state, &new).map(Fact::UserCreated))?;
        made.finish(&state)
    }

    /// Changes a user. When it returns, the change survives a crash, and the user's tokens follow it.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` password, or nothing to change; `Denied` if no active administrator would be left; `Log`.
    pub fn update_user(&self, actor: &Actor, now: Timestamp, id: &UserId, change: UserChange) -> Result<User> {
        if change.active.is_none() && change.role.is_none() && change.password.is_none() {
            return Err(Error::invalid("user", "nothing to change: send active, role or password"));
        }
        change.password.as_deref().map_or(Ok(()), password::check)?;
        check_admin_left(&self.state(), id, &change)?;
        let password_hash = self.hash(change.password.as_deref())?;
        let state = self.commit(actor, now, |state| {
            check_admin_left(state, id, &change)?;
            let UserChange { active, role, .. } = change;
            Ok(Fact::UserUpdated(UserUpdated { id: id.clone(), active, role, password_hash }))
        })?;
        made(state.user(id))
    }

    /// The user with this name and password. Takes tens of milliseconds, the same for a user who does not exist.
    ///
    /// # Errors
    /// `Unknown` if the name or the password is wrong, without saying which; `UserInactive` if both are right.
    pub fn verify_password(&self, name: &str, password: &str) -> std::result::Result<User, Denied> {
        let state = self.state();
        let user = state.user_named(name);
        let is_right = self.0.passwords.verify(password, user.and_then(|user| user.password.as_ref()));
        match user {
            Some(user) if is_right && user.active => Ok(User::clone(user)),
            Some(_) if is_right => Err(Denied::UserInactive),
            _ => Err(Denied::Unknown),
        }
    }

    /// Makes the one-time code with which the first administrator signs up. It works for 24 hours, until it is used,
    /// until another one is made, or until there is an administrator. Kept is its hash only.
    ///
    /// # Errors
    /// `Denied` if there is an administrator; `Log`.
    pub fn create_setup_code(&self, now: Timestamp) -> Result<Secret> {
        let secret = Secret::generate(SETUP_PREFIX)?;
        let expires_at = later(now, SETUP_LIFETIME)?;
        self.commit(&Actor::System, now, |state| {
            if state.has_admin() {
                return Err(ADMIN_EXISTS);
            }
            Ok(Fact::SetupCodeCreated(SetupCodeCreated { hash: secret.hash(), expires_at }))
        })?;
        Ok(secret)
    }

    /// Makes the first administrator, once. When it returns, the code opens nothing any more. The audit shows the new
    /// user as who did it.
    ///
    /// # Errors
    /// `Denied` if the code is wrong, used, replaced or expired, or if there is an administrator; otherwise as
    /// [`Registry::create_user`], and the code can be used again.
    pub fn redeem_setup_code(&self, now: Timestamp, code: &str, new: NewUser) -> Result<(User, Token, Secret)> {
        let state = self.state();
        // Before the password is hashed, so that strangers cannot make this server work.
        check_setup_code(&state, code, now)?;
        check_new_user(&state, &new)?;
        if new.role != Role::Admin {
            return Err(Error::invalid("role", "the first user is an administrator: send admin"));
        }
        let made = MadeUser::new(self.hash(new.password.as_deref())?)?;
        let state = self.commit(&Actor::User(made.id.clone()), now, |state| {
            check_setup_code(state, code, now)?;
            made.facts(state, &new).map(Fact::SetupCodeRedeemed)
        })?;
        made.finish(&state)
    }

    fn hash(&self, password: Option<&str>) -> Result<Option<PasswordHash>> {
        password.map(|password| self.0.passwords.hash(password)).transpose()
    }
}

/// What a new user gets, made before the writer is asked.
struct MadeUser {
    id: UserId,
    token: TokenId,
    secret: Secret,
    password_hash: Option<PasswordHash>,
}

impl MadeUser {
    fn new(password_hash: Option<PasswordHash>) -> Result<Self> {
        let secret = Secret::generate(crate::token::TokenKind::Secret.prefix())?;
        Ok(Self { id: UserId::generate()?, token: TokenId::generate()?, secret, password_hash })
    }

    fn facts(&self, state: &State, new: &NewUser) -> Result<UserCreated> {
        check_new_user(state, new)?;
        let (id, token, hash) = (self.id.clone(), self.token.clone(), self.secret.hash());
        let token = facts_for_user(state, token, hash, (&id, &new.name), new.application.as_deref())?;
        let password_hash = self.password_hash.clone();
        Ok(UserCreated { user: UserFacts { id, name: new.name.clone(), role: new.role, password_hash }, token })
    }

    fn finish(self, state: &State) -> Result<(User, Token, Secret)> {
        Ok((made(state.user(&self.id))?, made(state.token(&self.token))?, self.secret))
    }
}

fn check_new_user(state: &State, new: &NewUser) -> Result<()> {
    check_name(&new.name)?;
    new.password.as_deref().map_or(Ok(()), password::check)?;
    if state.user_named(&new.name).is_some() {
        return Err(Error::Exists { what: "a user with this name" });
    }
    if new.application.as_deref().is_some_and(|name| state.application(name).is_none()) {
        return Err(Error::NotFound { what: "application" });
    }
    check_room("user", state.users().len(), USERS_MAX)
}

/// The user is there, and after the change somebody is left who can manage users. Records of the time before this rule
/// are folded as they are.
fn check_admin_left(state: &State, id: &UserId, change: &UserChange) -> Result<()> {
    let user = state.user(id).ok_or(Error::NotFound { what: "user" })?;
    let stays = change.active.unwrap_or(true) && change.role.is_none_or(|role| role == Role::Admin);
    let is_admin = |user: &User| user.active && user.role == Role::Admin;
    if stays || !is_admin(user) || state.users().iter().any(|other| other.id != *id && is_admin(other)) {
        return Ok(());
    }
    Err(LAST_ADMIN)
}

fn check_setup_code(state: &State, code: &str, now: Timestamp) -> Result<()> {
    if state.has_admin() {
        return Err(ADMIN_EXISTS);
    }
    let message = "the set-up code is wrong, used or too old: start the server again for another";
    match (state.setup_code(), SecretHash::of_stranger(code)) {
        (Some(setup), Some(hash)) if setup.hash == hash && now < setup.expires_at => Ok(()),
        _ => Err(Error::Denied { message }),
    }
}
