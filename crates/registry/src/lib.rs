//! Applications, tokens and users: small facts, kept as records in a log of their own and folded into memory.
//!
//! That log is the audit trail too: what is not in it did not happen. State = fold(records), always; a change is
//! checked, appended, durable, and only then seen by anyone. Secrets are shown once and kept as SHA-256, passwords
//! as argon2id; neither is ever in the log, in an error or in a debug text.
//!
//! | module | what it holds |
//! |---|---|
//! | [`registry`] | [`Registry`]: open, authenticate, and every change |
//! | [`state`] | [`State`]: an immutable picture of everything, by id and by name |
//! | [`application`] | [`Application`] |
//! | [`token`] | [`Token`], [`Scopes`], [`Grant`]: what a token allows |
//! | [`user`] | [`User`], [`Role`] |
//! | [`secret`] | [`Secret`]: how a token's text is made, and that it never prints |
//! | [`audit`] | [`AuditRecord`]: who did what, newest first |
//! | [`id`] | [`ApplicationName`], [`TokenId`], [`UserId`], [`Actor`] |

pub mod application;
pub mod audit;
pub mod error;
pub mod id;
mod password;
mod record;
pub mod registry;
pub mod secret;
pub mod state;
pub mod token;
pub mod user;

pub use application::Application;
pub use audit::AuditRecord;
pub use error::{Denied, Error, Result};
pub use id::{Actor, ApplicationName, TokenId, UserId};
pub use registry::Registry;
pub use secret::Secret;
pub use state::State;
pub use token::{Grant, NewToken, Scopes, Token, TokenKind};
pub use user::{NewUser, Role, User, UserChange};
