//! Where the mutants of a file go: its syntax is walked once, and each place where one changes something becomes a [`Node`].
//!
//! An operator is exchanged where it was parsed: `a && b || c` with `||` for `&&` is `(a || b) || c`, whatever the text
//! would mean if it were read again.
//!
//! | what cannot be chosen at run time | why |
//! |---|---|
//! | what a constant is computed from | it is computed by the compiler |
//! | `||` for `&&` beside a `let` | such a condition does not compile |
//! | `true` or `false` for a guard with a `let` | the arm needs what it binds |
//! | a value for a body behind `-> impl Trait` | a function returns one type |

use std::collections::HashMap;
use std::ops::Range;

use proc_macro2::Span;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{BinOp, Block, Expr, ReturnType, Signature, UnOp};

use crate::Error;
use crate::list::{Genre, Mutant, Place};

/// A mutant: its place in the list.
pub(crate) type Id = usize;

/// A change of some mutants, and the bytes of the file that it is about.
#[derive(Debug)]
pub(crate) struct Node {
    pub range: Range<usize>,
    pub kind: Kind,
}

impl Node {
    /// The mutants that are chosen between here.
    fn ids(&self) -> Vec<Id> {
        match &self.kind {
            Kind::Body(mutants) | Kind::Guard(mutants) | Kind::Binary { mutants, .. } => {
                mutants.iter().map(|(id, _)| *id).collect()
            }
            Kind::Unary { mutant, .. } | Kind::Arm(mutant) => vec![*mutant],
            Kind::Struct(fields) => fields.iter().map(|(id, _)| *id).collect(),
            Kind::Const(..) => Vec::new(),
        }
    }
}

/// What becomes of the bytes of a node. Each replacement is the text that stands there with its mutant.
#[derive(Debug)]
pub(crate) enum Kind {
    /// The statements of a function; each mutant returns its value before them.
    Body(Vec<(Id, String)>),
    /// `left operator right`.
    Binary { left: Range<usize>, operator: Range<usize>, right: Range<usize>, mutants: Vec<(Id, String)> },
    /// An operator before `operand`, which the mutant leaves out.
    Unary { operand: Range<usize>, mutant: Id },
    /// An empty place behind the pattern of an arm, where the guard that takes it away goes.
    Arm(Id),
    /// An expression that is replaced as a whole.
    Guard(Vec<(Id, String)>),
    /// A struct expression, and the fields that are left out.
    Struct(Vec<(Id, Range<usize>)>),
    /// The word `const` before the function of this name, which has these mutants.
    Const(String, Vec<Id>),
}

/// The nodes of a file, each before those inside it; and its mutants that have none, with the reason.
#[derive(Debug, Default)]
pub(crate) struct Nodes {
    pub nodes: Vec<Node>,
    pub left_out: Vec<(Id, Reason)>,
}

/// Why a mutant is not chosen at run time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// It is computed by the compiler.
    Constant,
    /// It is `||` for `&&` beside a `let`.
    BesideLet,
    /// It is a guard that binds names.
    LetGuard,
    /// It is the body of a function that returns `impl Trait`.
    ReturnsTrait,
    /// This program does not know what it is, or did not find its place.
    Unknown,
}

/// Finds the places of these mutants in the text of their file.
pub(crate) fn nodes(text: &str, mutants: &[(Id, &Mutant)]) -> Result<Nodes, Error> {
    let file = syn::parse_file(text)?;
    let mut wanted: HashMap<(Genre, Place), Vec<(Id, String)>> = HashMap::new();
    for (id, mutant) in mutants {
        let place = (mutant.genre, mutant.span.start);
        wanted.entry(place).or_default().push((*id, mutant.replacement.clone()));
    }
    let mut visitor = Visitor { wanted, found: Nodes::default(), in_constant: false };
    visitor.visit_file(&file);
    let mut found = visitor.found;
    let left = visitor.wanted.into_values().flatten();
    found.left_out.extend(left.map(|(id, _)| (id, Reason::Unknown)));
    // A node before those inside it; of two with the same bytes, the one that was come to first.
    found.nodes.sort_by_key(|node| (node.range.start, std::cmp::Reverse(node.range.end)));
    Ok(found)
}

struct Visitor {
    /// The mutants whose place was not come to yet.
    wanted: HashMap<(Genre, Place), Vec<(Id, String)>>,
    found: Nodes,
    in_constant: bool,
}

impl Visitor {
    /// The mutants of this kind that begin here, unless the compiler computes what is here.
    fn take(&mut self, genre: Genre, at: Span) -> Vec<(Id, String)> {
        let start = at.start();
        let place = Place { line: start.line, column: start.column + 1 };
        let mutants = self.wanted.remove(&(genre, place)).unwrap_or_default();
        if self.in_constant {
            self.leave_out(&mutants, Reason::Constant);
            return Vec::new();
        }
        mutants
    }

    fn leave_out(&mut self, mutants: &[(Id, String)], reason: Reason) {
        self.found.left_out.extend(mutants.iter().map(|(id, _)| (*id, reason)));
    }

    fn add(&mut self, range: Range<usize>, kind: Kind) {
        self.found.nodes.push(Node { range, kind });
    }

    fn within_constant(&mut self, walk: impl FnOnce(&mut Self)) {
        let outside = std::mem::replace(&mut self.in_constant, true);
        walk(self);
        self.in_constant = outside;
    }

    /// A function and all in it. One that is `const` and has mutants is so no longer.
    fn function(&mut self, signature: &Signature, block: &Block, walk: impl FnOnce(&mut Self)) {
        let outside = std::mem::replace(&mut self.in_constant, false);
        let before = self.found.nodes.len();
        if let Some(first) = block.stmts.first() {
            let mutants = self.take(Genre::FnValue, first.span());
            if returns_trait(&signature.output) {
                self.leave_out(&mutants, Reason::ReturnsTrait);
            } else if !mutants.is_empty() {
                let end = block.stmts.last().unwrap_or(first).span().byte_range().end;
                self.add(first.span().byte_range().start..end, Kind::Body(mutants));
            }
        }
        walk(self);
        if let Some(word) = &signature.constness
            && self.found.nodes.len() > before
        {
            let ids = self.found.nodes[before..].iter().flat_map(Node::ids).collect();
            self.add(word.span.byte_range(), Kind::Const(signature.ident.to_string(), ids));
        }
        self.in_constant = outside;
    }
}

impl<'ast> Visit<'ast> for Visitor {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.function(&item.sig, &item.block, |this| visit::visit_item_fn(this, item));
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.function(&item.sig, &item.block, |this| visit::visit_impl_item_fn(this, item));
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(block) = &item.default {
            self.function(&item.sig, block, |this| visit::visit_trait_item_fn(this, item));
        }
    }

    fn visit_item_const(&mut self, item: &'ast syn::ItemConst) {
        self.within_constant(|this| visit::visit_item_const(this, item));
    }

    fn visit_item_static(&mut self, item: &'ast syn::ItemStatic) {
        self.within_constant(|this| visit::visit_item_static(this, item));
    }

    fn visit_impl_item_const(&mut self, item: &'ast syn::ImplItemConst) {
        self.within_constant(|this| visit::visit_impl_item_const(this, item));
    }

    fn visit_trait_item_const(&mut self, item: &'ast syn::TraitItemConst) {
        self.within_constant(|this| visit::visit_trait_item_const(this, item));
    }

    fn visit_variant(&mut self, variant: &'ast syn::Variant) {
        self.within_constant(|this| visit::visit_variant(this, variant));
    }

    fn visit_expr_const(&mut self, block: &'ast syn::ExprConst) {
        self.within_constant(|this| visit::visit_expr_const(this, block));
    }

    fn visit_expr_repeat(&mut self, repeat: &'ast syn::ExprRepeat) {
        self.visit_expr(&repeat.expr);
        self.within_constant(|this| this.visit_expr(&repeat.len));
    }

    // Lengths of arrays and arguments of types.
    fn visit_type(&mut self, ty: &'ast syn::Type) {
        self.within_constant(|this| visit::visit_type(this, ty));
    }

    fn visit_generic_argument(&mut self, argument: &'ast syn::GenericArgument) {
        self.within_constant(|this| visit::visit_generic_argument(this, argument));
    }

    fn visit_pat(&mut self, pattern: &'ast syn::Pat) {
        self.within_constant(|this| visit::visit_pat(this, pattern));
    }

    fn visit_expr_binary(&mut self, binary: &'ast syn::ExprBinary) {
        let mutants = self.take(Genre::BinaryOperator, binary.op.span());
        if matches!(binary.op, BinOp::And(_)) && (holds_let(&binary.left) || holds_let(&binary.right)) {
            self.leave_out(&mutants, Reason::BesideLet);
        } else if !mutants.is_empty() {
            let (left, right) = (binary.left.span().byte_range(), binary.right.span().byte_range());
            let operator = binary.op.span().byte_range();
            self.add(left.start..right.end, Kind::Binary { left, operator, right, mutants });
        }
        visit::visit_expr_binary(self, binary);
    }

    fn visit_expr_unary(&mut self, unary: &'ast syn::ExprUnary) {
        if matches!(unary.op, UnOp::Not(_) | UnOp::Neg(_)) {
            let (start, operand) = (unary.op.span().byte_range().start, unary.expr.span().byte_range());
            for (mutant, _) in self.take(Genre::UnaryOperator, unary.op.span()) {
                self.add(start..operand.end, Kind::Unary { operand: operand.clone(), mutant });
            }
        }
        visit::visit_expr_unary(self, unary);
    }

    fn visit_arm(&mut self, arm: &'ast syn::Arm) {
        let end = arm.pat.span().byte_range().end;
        for (mutant, _) in self.take(Genre::MatchArm, arm.span()) {
            self.add(end..end, Kind::Arm(mutant));
        }
        if let Some((_, guard)) = &arm.guard {
            let mutants = self.take(Genre::MatchArmGuard, guard.span());
            if holds_let(guard) {
                self.leave_out(&mutants, Reason::LetGuard);
            } else if !mutants.is_empty() {
                self.add(guard.span().byte_range(), Kind::Guard(mutants));
            }
        }
        visit::visit_arm(self, arm);
    }

    fn visit_expr_struct(&mut self, expression: &'ast syn::ExprStruct) {
        let mut fields = Vec::new();
        for pair in expression.fields.pairs() {
            let field = pair.value().span().byte_range();
            let end = pair.punct().map_or(field.end, |comma| comma.span().byte_range().end);
            let mutants = self.take(Genre::StructField, pair.value().span());
            fields.extend(mutants.into_iter().map(|(id, _)| (id, field.start..end)));
        }
        if !fields.is_empty() {
            self.add(expression.span().byte_range(), Kind::Struct(fields));
        }
        visit::visit_expr_struct(self, expression);
    }
}

/// Whether a condition binds names, so that it can only stand where it stands.
fn holds_let(condition: &Expr) -> bool {
    match condition {
        Expr::Let(_) => true,
        Expr::Binary(binary) => {
            matches!(binary.op, BinOp::And(_)) && (holds_let(&binary.left) || holds_let(&binary.right))
        }
        _ => false,
    }
}

/// Whether what a function returns is one type of which only a trait is told.
fn returns_trait(output: &ReturnType) -> bool {
    struct Finder(bool);
    impl Visit<'_> for Finder {
        fn visit_type_impl_trait(&mut self, _: &syn::TypeImplTrait) {
            self.0 = true;
        }
    }
    let mut finder = Finder(false);
    finder.visit_return_type(output);
    finder.0
}
