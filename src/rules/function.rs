//! The functions of EQL: names, how many arguments of which kinds, and whether `~` may follow.

use super::plan::Function;

/// What kind of value an expression has, as far as that can be known before the event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Not known: a field.
    Any,
    Null,
    Bool,
    Number,
    Text,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Any => "a value",
            Kind::Null => "null",
            Kind::Bool => "a boolean",
            Kind::Number => "a number",
            Kind::Text => "text",
        }
    }

    /// Whether a value of this kind may stand where `wanted` is needed.
    pub(super) fn fits(self, wanted: Kind) -> bool {
        self == wanted || matches!(self, Kind::Any | Kind::Null) || wanted == Kind::Any
    }
}

/// What a call becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Called {
    Function(Function),
    /// `wildcard(value, patterns...)`: the older way to write `like`.
    Wildcard,
}

/// One function.
#[derive(Debug)]
pub(super) struct Signature {
    pub name: &'static str,
    pub called: Called,
    /// Arguments that must be there.
    pub required: usize,
    /// Kinds by position; the last holds for further ones if `variadic`.
    pub arguments: &'static [Kind],
    pub variadic: bool,
    pub result: Kind,
    /// May be written with `~`.
    pub tilde: bool,
}

use Kind::{Any, Bool, Number, Text};

const fn plain(
    name: &'static str,
    function: Function,
    required: usize,
    arguments: &'static [Kind],
    result: Kind,
) -> Signature {
    Signature { name, called: Called::Function(function), required, arguments, variadic: false, result, tilde: false }
}

const fn cased(
    name: &'static str,
    function: Function,
    required: usize,
    arguments: &'static [Kind],
    result: Kind,
) -> Signature {
    Signature { name, called: Called::Function(function), required, arguments, variadic: false, result, tilde: true }
}

/// All of them, by name.
pub(super) const FUNCTIONS: &[Signature] = &[
    plain("add", Function::Add, 2, &[Number, Number], Number),
    cased("between", Function::Between, 3, &[Text, Text, Text, Bool], Text),
    Signature {
        name: "cidrMatch",
        called: Called::Function(Function::CidrMatch),
        required: 2,
        arguments: &[Text, Text],
        variadic: true,
        result: Bool,
        tilde: false,
    },
    Signature {
        name: "concat",
        called: Called::Function(Function::Concat),
        required: 1,
        arguments: &[Any],
        variadic: true,
        result: Text,
        tilde: false,
    },
    plain("divide", Function::Divide, 2, &[Number, Number], Number),
    cased("endsWith", Function::EndsWith, 2, &[Text, Text], Bool),
    cased("indexOf", Function::IndexOf, 2, &[Text, Text, Number], Number),
    plain("length", Function::Length, 1, &[Text], Number),
    plain("modulo", Function::Modulo, 2, &[Number, Number], Number),
    plain("multiply", Function::Multiply, 2, &[Number, Number], Number),
    plain("number", Function::Number, 1, &[Text, Number], Number),
    cased("startsWith", Function::StartsWith, 2, &[Text, Text], Bool),
    plain("string", Function::String, 1, &[Any], Text),
    cased("stringContains", Function::StringContains, 2, &[Text, Text], Bool),
    plain("substring", Function::Substring, 2, &[Text, Number, Number], Text),
    plain("subtract", Function::Subtract, 2, &[Number, Number], Number),
    Signature {
        name: "wildcard",
        called: Called::Wildcard,
        required: 2,
        arguments: &[Text, Text],
        variadic: true,
        result: Bool,
        tilde: true,
    },
];

/// The function of that name, in any case.
pub(super) fn find(name: &str) -> Option<&'static Signature> {
    FUNCTIONS.iter().find(|signature| signature.name.eq_ignore_ascii_case(name))
}

/// The signature of a compiled function.
pub(super) fn of(function: Function) -> Option<&'static Signature> {
    FUNCTIONS.iter().find(|signature| signature.called == Called::Function(function))
}

impl Signature {
    /// The kind wanted at a position; `None`: one too many.
    pub(super) fn argument(&self, at: usize) -> Option<Kind> {
        match self.arguments.get(at) {
            Some(kind) => Some(*kind),
            None if self.variadic => self.arguments.last().copied(),
            None => None,
        }
    }

    /// How many arguments, in words.
    pub(super) fn arity(&self) -> String {
        match (self.required, self.arguments.len()) {
            (n, _) if self.variadic => format!("at least {n}"),
            (n, m) if n == m => n.to_string(),
            (n, m) => format!("{n} to {m}"),
        }
    }
}
