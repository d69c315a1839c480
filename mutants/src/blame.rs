//! Whose fault an error of the compiler is.

use std::collections::HashMap;

use crate::cargo::{Diagnostic, Span};
use crate::render::{Mark, Rendered};
use crate::schema::Id;

/// What an error says about a mutant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// What it puts in does not compile.
    Own,
    /// It does not compile together with what is there without it.
    Shared,
}

/// The mutants that are in a build: the files with them, and the functions that are not `const` because of them, by name.
#[derive(Debug, Default)]
pub(crate) struct Edits {
    pub files: HashMap<String, Rendered>,
    pub constants: Vec<(String, Vec<Id>)>,
}

impl Edits {
    /// The mutants whose fault this error is; none if it is nobody's.
    pub(crate) fn blame(&self, error: &Diagnostic) -> Vec<(Id, Fault)> {
        let primary = || error.spans.iter().filter(|span| span.is_primary);
        let marks: Vec<&Mark> = primary().filter_map(|span| self.innermost(span)).collect();
        if error.code.as_ref().is_some_and(|code| code.code == NOT_CONST) && marks.is_empty() {
            // The error is where the function is called, in a constant.
            let called = error.message.split('`').nth(1).and_then(|path| path.rsplit("::").next());
            let called = called.map(|name| name.split('<').next().unwrap_or(name)).unwrap_or_default();
            let named = self.constants.iter().filter(|(name, _)| name == called);
            return named.flat_map(|(_, ids)| ids.iter().map(|id| (*id, Fault::Shared))).collect();
        }
        let fault = |mark: &Mark| if mark.is_own { Fault::Own } else { Fault::Shared };
        marks.into_iter().flat_map(|mark| mark.ids.iter().map(move |id| (*id, fault(mark)))).collect()
    }

    /// The smallest mark around a place, or around the call of the macro that it is in. One of what a mutant puts in beats
    /// one of what is around it.
    fn innermost(&self, span: &Span) -> Option<&Mark> {
        let here = self.files.get(&span.file_name).and_then(|file| {
            let around = |mark: &&Mark| mark.range.start <= span.byte_start && span.byte_end <= mark.range.end;
            file.marks.iter().filter(around).min_by_key(|mark| (!mark.is_own, mark.range.len()))
        });
        here.or_else(|| span.expansion.as_ref().and_then(|expansion| self.innermost(&expansion.span)))
    }
}

/// What is called where the compiler computes is not `const`.
const NOT_CONST: &str = "E0015";

#[cfg(test)]
mod tests;
