//! `eye app`, `eye token`, `eye user`: applications, tokens and users, over the server's own routes.

use eye_event::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Context;
use super::client::encode;
use super::failure::{Failure, Result};
use super::output::{Tone, note};
use super::password::{new_password, secret};
use super::text::safe;
use super::view;

pub(crate) const APP_EXAMPLES: &str = "\
Examples:
  eye app create shop --title \"The shop\"
  eye app list --json";

pub(crate) const TOKEN_EXAMPLES: &str = "\
A token is shown once, when it is made. Kinds: secret (write and read its application), write (safe in a page's source),
read.

Examples:
  eye token create web --kind write --application shop
  eye token create old --application shop --import < old-token.txt
  eye token rotate tok_6mVh2… --overlap-seconds 3600
  eye token revoke tok_6mVh2…";

pub(crate) const USER_EXAMPLES: &str = "\
Making a user makes a token for it. Passwords are asked for, or read from standard input; never an argument.

Examples:
  eye user create ann --role admin
  eye user create ci --role analyst --no-password
  pass show eye/ann | eye user password ann
  eye user deactivate ann";

/// Applications.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum App {
    /// Make an application
    Create {
        /// Its name: lower case letters, digits, `-` and `_`
        name: String,
        /// What people call it
        #[arg(long)]
        title: Option<String>,
    },
    /// List the applications
    List,
}

/// What a token may do.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum TokenKind {
    /// Write and read the events of its application
    Secret,
    /// Write only: safe in a page's source
    Write,
    /// Read only
    Read,
}

/// What a user may do.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum Role {
    /// Write, read and manage
    Admin,
    /// Write and read
    Analyst,
    /// Read
    Viewer,
}

/// Tokens.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Token {
    /// Make a token; it is shown once
    Create {
        /// What it is for
        name: String,
        /// What may it do?
        #[arg(long, value_enum, default_value_t = TokenKind::Secret)]
        kind: TokenKind,
        /// Whose events? The default application if absent
        #[arg(long, value_name = "NAME")]
        application: Option<String>,
        /// Until when? For ever if absent
        #[arg(long, value_name = "TIME")]
        expires_at: Option<Moment>,
        /// Take over a token that clients already have: asked for, or read from standard input
        #[arg(long)]
        import: bool,
    },
    /// List the tokens, never the secrets
    List,
    /// Make a new token in place of an old one, which works on for a while
    Rotate {
        /// Which? Its id, as `list` shows it
        id: String,
        /// For how long does the old one work on?
        #[arg(long, value_name = "SECONDS")]
        overlap_seconds: Option<u64>,
    },
    /// End a token now
    Revoke {
        /// Which? Its id, as `list` shows it
        id: String,
    },
}

/// Users.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum User {
    /// Make a user, with a token of its own
    Create {
        /// Its name
        name: String,
        /// What may it do?
        #[arg(long, value_enum, default_value_t = Role::Viewer)]
        role: Role,
        /// Which application do its own events belong to?
        #[arg(long, value_name = "NAME")]
        application: Option<String>,
        /// It works with its token only: no password
        #[arg(long)]
        no_password: bool,
    },
    /// List the users
    List,
    /// Give a user another role
    Role {
        /// Which? Its name or id
        user: String,
        /// The new role
        #[arg(value_enum)]
        role: Role,
    },
    /// Let a user in again
    Activate {
        /// Which? Its name or id
        user: String,
    },
    /// Lock a user out: its tokens stop working now
    Deactivate {
        /// Which? Its name or id
        user: String,
    },
    /// Set a new password: asked for, or the first line of standard input
    Password {
        /// Which? Its name or id
        user: String,
    },
}

/// A time as a person writes it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment(Timestamp);

impl std::str::FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        Timestamp::parse(text).map(Self).ok_or_else(|| "not a time: write 2026-12-31T23:59:59Z".to_owned())
    }
}

impl TokenKind {
    fn name(self) -> &'static str {
        match self {
            Self::Secret => "secret",
            Self::Write => "write",
            Self::Read => "read",
        }
    }
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Analyst => "analyst",
            Self::Viewer => "viewer",
        }
    }
}

pub(crate) fn app(context: &Context<'_>, command: App) -> Result<()> {
    match command {
        App::Create { name, title } => {
            let body = object([("name", json!(name)), ("title", json!(title))]);
            let answer = context.client()?.send("POST", "/v1/applications", &body)?;
            context.output.answer(&answer, || {
                Ok(format!("application {} is there; \"eye token create\" makes tokens for it", safe(&name)))
            })
        }
        App::List => show_list(context, "/v1/applications", "applications", &["name", "title", "created_at"]),
    }
}

pub(crate) fn token(context: &Context<'_>, command: Token) -> Result<()> {
    let client = context.client()?;
    match command {
        Token::Create { name, kind, application, expires_at, import } => {
            let imported = if import { Some(secret("the token to take over")?) } else { None };
            let body = object([
                ("name", json!(name)),
                ("kind", json!(kind.name())),
                ("application", json!(application)),
                ("expires_at", json!(expires_at.map(|time| time.0.to_string()))),
                ("import", json!(imported)),
            ]);
            show_token(context, &client.send("POST", "/v1/tokens", &body)?)
        }
        Token::List => {
            let columns =
                ["id", "name", "kind", "application", "user", "created_at", "expires_at", "revoked_at", "last_used_at"];
            show_list(context, "/v1/tokens", "tokens", &columns)
        }
        Token::Rotate { id, overlap_seconds } => {
            let body = object([("overlap_seconds", json!(overlap_seconds))]);
            show_token(context, &client.send("POST", &format!("/v1/tokens/{}/rotate", encode(&id)), &body)?)
        }
        Token::Revoke { id } => {
            let answer = client.call("DELETE", &format!("/v1/tokens/{}", encode(&id)))?;
            context.output.answer(&answer, || Ok(format!("token {} is revoked", safe(&id))))
        }
    }
}

pub(crate) fn user(context: &Context<'_>, command: User) -> Result<()> {
    let client = context.client()?;
    match command {
        User::Create { name, role, application, no_password } => {
            let password = if no_password { None } else { Some(new_password()?) };
            let body = object([
                ("name", json!(name)),
                ("role", json!(role.name())),
                ("application", json!(application)),
                ("password", json!(password)),
            ]);
            let answer = client.send("POST", "/v1/users", &body)?;
            let made: MadeUser = view::read(&answer)?;
            note(&format!("eye: user {} ({}) is there", safe(&name), role.name()));
            show_secret(context, &answer, &made.token)
        }
        User::List => show_list(context, "/v1/users", "users", &["id", "name", "role", "active", "created_at"]),
        User::Role { user, role } => update(context, &user, json!({"role": role.name()}), "has a new role"),
        User::Activate { user } => update(context, &user, json!({"active": true}), "is active"),
        User::Deactivate { user } => update(context, &user, json!({"active": false}), "is locked out"),
        User::Password { user } => update(context, &user, json!({"password": new_password()?}), "has a new password"),
    }
}

#[derive(Deserialize)]
struct MadeUser {
    token: Value,
}

/// Changes the user with this id or name.
fn update(context: &Context<'_>, user: &str, change: Value, done: &str) -> Result<()> {
    let client = context.client()?;
    let answer: Value = view::read(&client.get("/v1/users", &[])?)?;
    let users = answer.get("users").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let text = |user: &Value, field: &str| user.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    let by_id = users.iter().find(|candidate| text(candidate, "id") == user);
    let by_name = || users.iter().find(|candidate| text(candidate, "name").to_lowercase() == user.to_lowercase());
    let Some(found) = by_id.or_else(by_name) else {
        return Err(Failure::BadNews(format!("no user {user:?}: \"eye user list\" shows them all")));
    };
    let answer = client.send("PATCH", &format!("/v1/users/{}", encode(&text(found, "id"))), &change)?;
    context.output.answer(&answer, || Ok(format!("user {} {done}", safe(&text(found, "name")))))
}

fn show_token(context: &Context<'_>, answer: &str) -> Result<()> {
    show_secret(context, answer, &view::read(answer)?)
}

/// Prints a secret: alone on standard output, so that it can be piped; what to know about it on stderr.
fn show_secret(context: &Context<'_>, answer: &str, token: &Value) -> Result<()> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    // A route answers the secret alone, or within the token's description.
    let secret =
        text(token).or_else(|| token.get("token").and_then(text)).or_else(|| token.get("secret").and_then(text));
    context.output.answer(answer, || {
        let secret = secret
            .ok_or_else(|| Failure::Unreachable("the answer holds no token; is this an Eye server?".to_owned()))?;
        let id = token.get("id").and_then(Value::as_str).map(|id| format!(" {}", safe(id))).unwrap_or_default();
        note(&context.output.tone(Tone::Warning, &format!("eye: token{id}, shown once: keep it now")));
        Ok(safe(&secret).into_owned())
    })
}

fn show_list(context: &Context<'_>, path: &str, name: &str, columns: &[&str]) -> Result<()> {
    let answer = context.client()?.get(path, &[])?;
    context.output.answer(&answer, || {
        let document: Value = view::read(&answer)?;
        let items = document.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let rows = items.iter().map(|item| columns.iter().map(|column| cell(item.get(*column))).collect());
        Ok(context.output.table(columns, &[], rows))
    })
}

fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Bool(yes)) => if *yes { "yes" } else { "no" }.to_owned(),
        Some(other) => other.to_string(),
    }
}

/// An object of the fields that are not null.
fn object<const N: usize>(fields: [(&str, Value); N]) -> Value {
    let given = fields.into_iter().filter(|(_, value)| !value.is_null());
    Value::Object(given.map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>())
}
