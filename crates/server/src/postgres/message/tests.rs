use bytes::{BufMut as _, BytesMut};
use pgwire::messages::{DecodeContext, PgWireFrontendMessage, ProtocolVersion};
use proptest::prelude::*;

use super::*;

/// As clients send them. Their first messages have the type 0 here, which none has on its way.
const REAL: &[(u8, &[u8])] = &[
    // psql, with what it says of itself; protocol 3.2 with a parameter that has no value; a client that says nothing.
    (0, b"\0\x03\0\0user\0eye\0database\0eye\0application_name\0psql\0client_encoding\0UTF8\0\0"),
    (0, b"\0\x03\0\x02user\0eye\0options\0\0_pq_.new\0on\0\0"),
    (0, b"\0\x03\0\0\0"),
    // CancelRequest, with keys of 4 bytes and of more.
    (0, b"\x04\xd2\x16\x2e\0\0\x01\x02\x0a\x0b\x0c\x0d"),
    (0, b"\x04\xd2\x16\x2e\0\0\x01\x020123456789abcdef0123456789abcdef"),
    (b'p', b"eye_sk_0123456789\0"),
    (b'p', b"\0"),
    (b'Q', b"SELECT count(*) FROM events; SELECT '\xc3\xa9'\0"),
    (b'Q', b"\0"),
    // libpq and psycopg: the unnamed statement; pgx and npgsql: names; JDBC: types; a type that is not known.
    (b'P', b"\0SELECT 1\0\0\0"),
    (b'P', b"stmtcache_1\0SELECT $1::int8\0\0\0"),
    (b'P', b"S_1\0SELECT $1, $2\0\0\x02\0\0\0\x17\0\0\x04\x13"),
    (b'P', b"\0SELECT $1\0\0\x01\0\0\0\0"),
    (b'P', b"\0\0\0\0"),
    (b'B', b"\0\0\0\0\0\0\0\0"),
    // JDBC: a format for each value; npgsql: one for all, and for all columns; a NULL, an empty value.
    (b'B', b"\0S_1\0\0\x02\0\x01\0\0\0\x02\0\0\0\x04\0\0\0\x07\0\0\0\x02it\0\0"),
    (b'B', b"p\0s\0\0\x01\0\x01\0\x02\xff\xff\xff\xff\0\0\0\0\0\x01\0\x01"),
    // node-postgres: one format for values that are not there. psycopg: formats of each column.
    (b'B', b"\0\0\0\x01\0\0\0\0\0\x01\0\0"),
    (b'B', b"\0\0\0\0\0\x01\0\0\0\x03\xff\0\x80\0\x03\0\x01\0\0\0\x01"),
    (b'D', b"S\0"),
    (b'D', b"PC_7\0"),
    (b'C', b"SS_1\0"),
    (b'C', b"P\0"),
    (b'E', b"\0\0\0\0\0"),
    (b'E', b"C_7\0\0\0\0\x32"),
    (b'E', b"\0\xff\xff\xff\xff"),
    (b'S', b""),
    (b'H', b""),
    (b'X', b""),
    (b'd', b"1\tone\n\0\xff"),
    (b'd', b""),
    (b'c', b""),
    (b'f', b"no more\0"),
];

fn look(kind: u8, body: &[u8]) -> Result<(), Problem> {
    if kind == 0 { check_first(body) } else { check(kind, body) }
}

/// The message as it is sent.
fn sent(kind: u8, body: &[u8]) -> BytesMut {
    let mut bytes = BytesMut::new();
    if kind != 0 {
        bytes.put_u8(kind);
    }
    bytes.put_u32(u32::try_from(body.len() + 4).unwrap());
    bytes.put_slice(body);
    bytes
}

/// What `pgwire` makes of a message that was found good: it reads all of it, and says the same.
fn read(kind: u8, body: &[u8]) {
    let mut context = DecodeContext::new(ProtocolVersion::PROTOCOL3_2);
    context.awaiting_frontend_ssl = false;
    context.awaiting_frontend_startup = kind == 0;
    let mut left = sent(kind, body);
    let read = PgWireFrontendMessage::decode(&mut left, &context);
    if kind == 0 {
        return assert!(!matches!(read, Ok(None)), "more is waited for");
    }
    let read = read.unwrap().expect("the message is whole");
    assert!(left.is_empty(), "{left:?} is left of {read:?}");
    let mut again = BytesMut::new();
    read.encode(&mut again).unwrap();
    let is_text = std::str::from_utf8(body).is_ok();
    assert!(!is_text || again == sent(kind, body), "{read:?}");
}

#[test]
fn what_clients_send_is_good() {
    for (kind, body) in REAL {
        assert_eq!(look(*kind, body), Ok(()), "{} {}", char::from(*kind), body.escape_ascii());
        read(*kind, body);
    }
}

#[test]
fn every_message_cut_short_is_named() {
    for (kind, body) in REAL.iter().filter(|(kind, body)| *kind != b'd' && !body.starts_with(b"\x04\xd2")) {
        for end in 0..body.len() {
            let found = look(*kind, &body[..end]);
            assert!(matches!(found, Err(Problem::Short { .. })), "{} {}: {found:?}", body.escape_ascii(), end);
        }
        let found = look(*kind, &[*body, b"\0"].concat());
        assert!(matches!(found, Err(Problem::Long { .. })), "{}: {found:?}", body.escape_ascii());
    }
}

#[test]
fn what_is_wrong_is_named() {
    for (kind, body, expected) in [
        (b'P', &b"s\0SELECT 1"[..], "invalid Parse message: it ends within its statement"),
        (b'P', b"s\0SELECT 1\0\0", "invalid Parse message: it ends within its number of types"),
        (b'P', b"s\0SELECT 1\0\xff\xff\0\0\0\x17", "invalid Parse message: it ends within its types"),
        (b'B', b"", "invalid Bind message: it ends within its portal"),
        (b'B', b"\0\0\xff\xff\0\x01", "invalid Bind message: it ends within its formats of values"),
        (b'B', b"\0\0\0\x01\0\x02\0\0\0\0", "invalid Bind message: 2 is no code of a format"),
        (b'B', b"\0\0\0\0\0\0\0\x01\xff\xff", "invalid Bind message: -1 is no code of a format"),
        (b'B', b"\0\0\0\x02\0\0\0\0\0\0\0\0", "invalid Bind message: 2 is no number of formats of its values"),
        (b'B', b"\0\0\0\0\xff\xff", "invalid Bind message: it ends within its length of a value"),
        (b'B', b"\0\0\0\0\0\x01\x7f\xff\xff\xffx\0\0", "invalid Bind message: it ends within its values"),
        (b'B', b"\0\0\0\0\0\x01\xff\xff\xff\xfe\0\0", "invalid Bind message: -2 is no length of a value"),
        (b'B', b"\0\0\0\0\0\0\xff\xff", "invalid Bind message: it ends within its formats of columns"),
        (b'C', b"Z\0", "invalid Close message: 90 is no target"),
        (b'D', b"", "invalid Describe message: it ends within its target"),
        (b'D', b"Sname", "invalid Describe message: it ends within its name"),
        (b'E', b"\0\0\0\0", "invalid Execute message: it ends within its number of rows"),
        (b'Q', b"SELECT 1", "invalid Query message: it ends within its text"),
        (b'Q', b"SELECT 1\0\0\0", "invalid Query message: bytes come after its last field"),
        (b'S', b"Q", "invalid Sync message: bytes come after its last field"),
        (b'p', b"secret", "invalid Password message: it ends within its text"),
        (b'f', b"", "invalid CopyFail message: it ends within its text"),
        (0, b"\0\x03\0", "invalid Startup message: it ends within its version"),
        (0, b"\0\x03\0\0user\0eye\0", "invalid Startup message: it ends within its parameters"),
        (0, b"\0\x03\0\0\0user\0", "invalid Startup message: bytes come after its last field"),
        (b'F', b"", "invalid frontend message type 70"),
        (b'!', b"", "invalid frontend message type 33"),
    ] {
        let found = look(kind, body).unwrap_err().to_string();
        assert_eq!(found, expected, "{}", body.escape_ascii());
    }
}

proptest! {
    #[test]
    fn what_is_found_good_is_read_whatever_was_changed(
        (kind, body) in proptest::sample::select(REAL),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in proptest::option::of(any::<prop::sample::Index>()),
        more in proptest::collection::vec(any::<u8>(), 0..3),
    ) {
        let mut body = [body, more.as_slice()].concat();
        for (at, byte) in changes.iter().filter(|_| !body.is_empty()).collect::<Vec<_>>() {
            let at = at.index(body.len());
            body[at] = *byte;
        }
        if let Some(cut) = cut {
            body.truncate(cut.index(body.len() + 1));
        }
        if look(kind, &body).is_ok() {
            read(kind, &body);
        }
    }
}
