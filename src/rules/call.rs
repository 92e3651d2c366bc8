//! Function calls of EQL, lowered: checked against their signatures, and turned into predicates on one value where their
//! other arguments are constant.

use super::ast::Node;
use super::diagnostic::{Extent, Problem, nearest};
use super::function::{self, Called, Signature};
use super::lower::{Lowering, kind, test, wildcards};
use super::pattern;
use super::plan::{Expr, Function, Literal, Predicate};

impl Lowering<'_> {
    /// A call of a function: its name, number and kinds of arguments checked.
    pub(super) fn call(&mut self, name: &str, at: Extent, nodes: &[Node], ignore_case: bool, extent: Extent) -> Expr {
        let Some(signature) = function::find(name) else {
            let problem = Problem::new("E0301", at, format!("unknown function `{name}`"));
            self.problems.push(match nearest(name, function::FUNCTIONS.iter().map(|f| f.name)) {
                Some(known) => problem.help(format!("did you mean `{known}`?")),
                None => problem,
            });
            for node in nodes {
                self.value(node);
            }
            return Expr::Literal(Literal::Null);
        };
        if ignore_case && !signature.tilde {
            self.problems.push(
                Problem::new("E0303", at, format!("`{}` has no case-insensitive form", signature.name))
                    .help("leave `~` out"),
            );
        }
        let arguments = self.arguments(signature, nodes, extent);
        if arguments.len() < signature.required {
            return Expr::Literal(Literal::Null);
        }
        match signature.called {
            Called::Wildcard => {
                let texts: Vec<String> =
                    self.constants(signature, &arguments, nodes).into_iter().map(|(t, _)| t).collect();
                arguments.into_iter().next().map_or(Expr::Literal(Literal::Null), |value| {
                    test(value, wildcards(texts.into_iter(), ignore_case))
                })
            }
            Called::Function(Function::CidrMatch) => self.cidr_match(signature, arguments, nodes),
            Called::Function(function) => text_test(function, arguments, ignore_case),
        }
    }

    /// The lowered arguments, with their number and kinds checked.
    fn arguments(&mut self, signature: &Signature, nodes: &[Node], extent: Extent) -> Vec<Expr> {
        let too_many = nodes.len() > signature.arguments.len() && !signature.variadic;
        if nodes.len() < signature.required || too_many {
            let count = nodes.len();
            let message = format!("`{}` takes {} arguments, not {count}", signature.name, signature.arity());
            self.problems.push(Problem::new("E0302", extent, message));
        }
        let mut arguments = Vec::with_capacity(nodes.len());
        for (at, node) in nodes.iter().enumerate() {
            let expr = self.value(node);
            let kind = kind(&expr);
            if let Some(wanted) = signature.argument(at).filter(|wanted| !kind.fits(*wanted)) {
                let message = format!(
                    "argument {} of `{}` is {}, this is {}",
                    at + 1,
                    signature.name,
                    wanted.name(),
                    kind.name()
                );
                self.problems.push(Problem::new("E0309", node.extent, message));
            }
            arguments.push(expr);
        }
        arguments
    }

    /// The constant texts behind the first argument.
    fn constants(&mut self, signature: &Signature, arguments: &[Expr], nodes: &[Node]) -> Vec<(String, Extent)> {
        let mut texts = Vec::new();
        for (argument, node) in arguments.iter().zip(nodes).skip(1) {
            match argument {
                Expr::Literal(Literal::Str(text)) => texts.push((text.clone(), node.extent)),
                // Of a wrong kind: already reported.
                Expr::Literal(literal) if *literal != Literal::Null => {}
                _ => {
                    let message = format!("`{}` takes constant text here", signature.name);
                    self.problems.push(Problem::new("E0309", node.extent, message).help("write it in quotes"));
                }
            }
        }
        texts
    }

    fn cidr_match(&mut self, signature: &Signature, arguments: Vec<Expr>, nodes: &[Node]) -> Expr {
        let mut blocks = Vec::new();
        for (text, extent) in self.constants(signature, &arguments, nodes) {
            match pattern::cidr(&text) {
                Some(block) => blocks.push(block),
                None => self.problems.push(
                    Problem::new("E0308", extent, format!("`{text}` is not an address block"))
                        .help("write an address and a prefix length, e.g. \"10.0.0.0/8\" or \"fe80::/10\""),
                ),
            }
        }
        let value = arguments.into_iter().next().unwrap_or(Expr::Literal(Literal::Null));
        test(value, Predicate::Cidr { blocks })
    }
}

/// A call, or the pattern that `startsWith`, `endsWith` and `stringContains` of a constant stand for.
fn text_test(function: Function, mut arguments: Vec<Expr>, ignore_case: bool) -> Expr {
    if let (
        Function::StartsWith | Function::EndsWith | Function::StringContains,
        [_, Expr::Literal(Literal::Str(text))],
    ) = (function, arguments.as_slice())
    {
        let before = function != Function::StartsWith;
        let behind = function != Function::EndsWith;
        let patterns = vec![pattern::around(before, text, behind)];
        return test(arguments.swap_remove(0), Predicate::Wildcard { patterns, ignore_case });
    }
    Expr::Call { function, arguments, ignore_case }
}
