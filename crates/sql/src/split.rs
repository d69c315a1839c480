//! Where statements end: several in one text, as clients of PostgreSQL may send them, or one that is still being written.

use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

/// How many statements one text may have.
pub const STATEMENTS_MAX: usize = 16;

/// The statements of a text, without what says nothing, and no more than one above [`STATEMENTS_MAX`]. Blanks stand for
/// what is before a statement, so that places in it are places in the text. A text that cannot be read is one statement.
#[must_use]
pub fn statements(sql: &str) -> Vec<String> {
    let whole = || vec![sql.to_owned()];
    let Ok(tokens) = Tokenizer::new(&PostgreSqlDialect {}, sql).tokenize_with_location() else { return whole() };
    let mut ends = tokens.iter().filter(|token| token.token == Token::SemiColon).map(|token| token.span.start);
    let mut next = ends.next();
    let (mut line, mut column) = (1, 1);
    let (mut parts, mut begin) = (Vec::new(), 0);
    for (at, char) in sql.char_indices() {
        if next.is_some_and(|end| (end.line, end.column) == (line, column)) {
            parts.push((begin, at));
            (begin, next) = (at + 1, ends.next());
        }
        (line, column) = if char == '\n' { (line + 1, 1) } else { (line, column + 1) };
    }
    parts.push((begin, sql.len()));
    parts.retain(|(begin, end)| says_something(&sql[*begin..*end]));
    if parts.len() < 2 {
        return whole();
    }
    parts.truncate(STATEMENTS_MAX + 1);
    let blank = |char: char| if char == '\n' { '\n' } else { ' ' };
    parts
        .into_iter()
        .map(|(begin, end)| sql[..begin].chars().map(blank).chain(sql[begin..end].chars()).collect())
        .collect()
}

/// True if the text ends with a semicolon that ends a statement: outside texts, names in quotes and comments.
#[must_use]
pub fn is_whole(text: &str) -> bool {
    let tokens = Tokenizer::new(&PostgreSqlDialect {}, text).tokenize().unwrap_or_default();
    let last = tokens.iter().rfind(|token| !matches!(token, Token::Whitespace(_) | Token::EOF));
    last == Some(&Token::SemiColon)
}

fn says_something(part: &str) -> bool {
    match Tokenizer::new(&PostgreSqlDialect {}, part).tokenize() {
        Ok(tokens) => tokens.iter().any(|token| !matches!(token, Token::Whitespace(_) | Token::EOF)),
        Err(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_end_at_semicolons_that_are_no_part_of_a_text() {
        let of = |sql: &str| statements(sql).iter().map(|part| part.trim().to_owned()).collect::<Vec<_>>();
        assert_eq!(
            of("SELECT 'a;b', \";\" -- ;\n;; /* ; */ ; SELECT $$;$$"),
            ["SELECT 'a;b', \";\" -- ;", "SELECT $$;$$"]
        );
        for one in ["SELECT 1", "SELECT 1;", "", ";", "SELECT 'a;", "SET application_name = 'a;b'"] {
            assert_eq!(statements(one), [one]);
        }
        assert_eq!(statements(&"1;".repeat(1_000)).len(), STATEMENTS_MAX + 1);
        let parts = statements("SELECT 'é';\nSELECT x");
        assert_eq!(parts, ["SELECT 'é'", "           \nSELECT x"]);
    }

    #[test]
    fn a_statement_ends_with_a_semicolon_of_its_own() {
        for whole in [
            "SELECT 1;",
            "SELECT 1 ; \n",
            "SELECT ';';",
            "SELECT \"a;b\"; -- done",
            "SELECT 1; /* ; */",
            "SELECT 'it''s';",
            r"SELECT E'it\'s', e'\\';",
            "SELECT name';';",
            "SELECT $$it's;$$;",
            "SELECT 1; /*/ ; */",
        ] {
            assert!(is_whole(whole), "{whole}");
        }
        for part in ["", "SELECT 1", "SELECT ';", "SELECT 1 -- ;", "SELECT /* ;", "SELECT 'a;\nb", "SELECT 1; SELECT"] {
            assert!(!is_whole(part), "{part}");
        }
        for part in [r"SELECT E'it\';", r"SELECT name'it\'s';", "SELECT $$it's;", "SELECT 1; /*/"] {
            assert!(!is_whole(part), "{part}");
        }
    }
}
