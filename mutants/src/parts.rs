//! The parts: each is a crate, and the files of it that decide what is acknowledged and who may do what.

/// A crate, its files, and the tests that must notice.
pub(crate) struct Part {
    pub name: &'static str,
    pub package: &'static str,
    /// From the root of the checkout.
    pub folder: &'static str,
    pub files: &'static [&'static str],
    /// Of their mutants, those whose name (file, place, change, function) fits this expression; all without it.
    pub only: Option<&'static str>,
    /// Its unit tests are tried first, then these integration tests, in this order.
    pub tests: &'static [&'static str],
}

impl Part {
    /// The name of its library, which its unit tests have too.
    pub(crate) fn library(&self) -> String {
        self.package.replace('-', "_")
    }

    /// All that is run, in order.
    pub(crate) fn binaries(&self) -> Vec<String> {
        std::iter::once(self.library()).chain(self.tests.iter().map(|&test| test.to_owned())).collect()
    }
}

pub(crate) const PARTS: [Part; 4] = [
    Part {
        name: "log",
        package: "eye-log",
        folder: "crates/log",
        // The contract and the simulated disk are tests themselves.
        files: &[
            "crates/log/src/local/*.rs",
            "crates/log/src/record.rs",
            "crates/log/src/disk.rs",
            "crates/log/src/files.rs",
        ],
        only: None,
        tests: &["regression", "faults", "damage", "conformance", "rot", "model"],
    },
    Part {
        name: "registry",
        package: "eye-registry",
        folder: "crates/registry",
        files: &[
            "crates/registry/src/token.rs",
            "crates/registry/src/secret.rs",
            "crates/registry/src/password.rs",
            "crates/registry/src/state.rs",
            "crates/registry/src/registry.rs",
            "crates/registry/src/registry/tokens.rs",
            "crates/registry/src/registry/users.rs",
        ],
        only: None,
        tests: &["registry"],
    },
    Part {
        name: "store",
        package: "eye-store",
        folder: "crates/store",
        files: &[
            "crates/store/src/apply.rs",
            "crates/store/src/flush.rs",
            "crates/store/src/dedup.rs",
            "crates/store/src/dedup/*.rs",
        ],
        only: None,
        tests: &["apply", "compaction", "erasure", "model"],
    },
    Part {
        name: "auth",
        package: "eye-server",
        folder: "crates/server",
        files: &[
            "crates/server/src/auth.rs",
            "crates/server/src/manage/attempts.rs",
            "crates/server/src/postgres/session.rs",
        ],
        // Of a PostgreSQL client's session: its login, and whose token each statement is asked with.
        only: Some(
            r"auth\.rs|attempts\.rs|session\.rs.*(AuthSource for Door|is_logged_in|Session::caller|Session::ask_of)",
        ),
        tests: &["manage", "ask", "postgres"],
    },
];
