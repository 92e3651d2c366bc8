//! EQL's expressions out of tokens. Precedence, loosest first: `or`, `and`, `not`, comparison, `+ -`, `* / %`, sign.
//!
//! Every way down passes `Parser::deeper`, and every node knows its height: no input can overflow the stack, here or in
//! whatever walks the tree later.

use super::ast::{MatchKind, Node, NodeKind};
use super::diagnostic::{Extent, Problem};
use super::lexer::TokenKind;
use super::parser::{KEYWORDS, Parser};
use super::plan::{ArithmeticOp, CompareOp, Literal};
use crate::limits;

fn node(kind: NodeKind, extent: Extent, below: usize) -> Result<Node, Problem> {
    if below >= limits::EXPRESSION_DEPTH_MAX {
        return Err(too_deep(extent));
    }
    Ok(Node { kind, extent, height: below + 1 })
}

fn too_deep(extent: Extent) -> Problem {
    let message = format!("the expression is nested deeper than {} levels", limits::EXPRESSION_DEPTH_MAX);
    Problem::new("E0205", extent, message).help("use `in` with a list, or several rules")
}

fn height(nodes: &[Node]) -> usize {
    nodes.iter().map(|node| node.height).max().unwrap_or(0)
}

fn join(nodes: Vec<Node>, build: impl Fn(Vec<Node>) -> NodeKind) -> Result<Node, Problem> {
    let extent = match (nodes.first(), nodes.last()) {
        (Some(first), Some(last)) => first.extent.to(last.extent),
        _ => Extent::default(),
    };
    let below = height(&nodes);
    node(build(nodes), extent, below)
}

impl Parser<'_> {
    fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, Problem>) -> Result<T, Problem> {
        if self.depth >= limits::EXPRESSION_DEPTH_MAX {
            return Err(too_deep(self.extent()));
        }
        self.depth += 1;
        let result = read(self);
        self.depth = self.depth.saturating_sub(1);
        result
    }

    /// A whole expression.
    pub(super) fn condition(&mut self) -> Result<Node, Problem> {
        self.deeper(|parser| {
            let first = parser.conjunction()?;
            if !parser.at_keyword("or") {
                return Ok(first);
            }
            let mut nodes = vec![first];
            while parser.eat_keyword("or") {
                nodes.push(parser.conjunction()?);
            }
            join(nodes, NodeKind::Or)
        })
    }

    fn conjunction(&mut self) -> Result<Node, Problem> {
        let first = self.negation()?;
        if !self.at_keyword("and") {
            return Ok(first);
        }
        let mut nodes = vec![first];
        while self.eat_keyword("and") {
            nodes.push(self.negation()?);
        }
        join(nodes, NodeKind::And)
    }

    fn negation(&mut self) -> Result<Node, Problem> {
        let start = self.extent();
        if !self.eat_keyword("not") {
            return self.comparison();
        }
        let inner = self.deeper(Self::negation)?;
        let (extent, below) = (start.to(inner.extent), inner.height);
        node(NodeKind::Not(Box::new(inner)), extent, below)
    }

    fn comparison(&mut self) -> Result<Node, Problem> {
        let left = self.sum()?;
        let compared = match &self.token().kind {
            TokenKind::Symbol(symbol @ ("==" | "!=" | "<" | "<=" | ">" | ">=")) => {
                self.advance();
                let right = self.sum()?;
                let (extent, below) = (left.extent.to(right.extent), left.height.max(right.height));
                let (left, right) = (Box::new(left), Box::new(right));
                let kind = match *symbol {
                    "==" | "!=" => NodeKind::Equals { left, right, negated: *symbol == "!=" },
                    "<" => NodeKind::Compare { op: CompareOp::Lt, left, right },
                    "<=" => NodeKind::Compare { op: CompareOp::Le, left, right },
                    ">" => NodeKind::Compare { op: CompareOp::Gt, left, right },
                    _ => NodeKind::Compare { op: CompareOp::Ge, left, right },
                };
                node(kind, extent, below)?
            }
            TokenKind::Symbol(":") => self.patterns(left, MatchKind::Colon, true)?,
            TokenKind::Word { text, quoted: false, tilde } => match text.as_str() {
                "in" => self.list_membership(left, false)?,
                "like" => self.patterns(left, MatchKind::Like, *tilde)?,
                "regex" => self.patterns(left, MatchKind::Regex, *tilde)?,
                "not" => self.negated_membership(left)?,
                _ => return Ok(left),
            },
            _ => return Ok(left),
        };
        match self.token().kind {
            TokenKind::Symbol("==" | "!=" | "<" | "<=" | ">" | ">=" | ":") => Err(self
                .unexpected("`and`, `or` or the end of the condition")
                .help("comparisons do not chain; join two with `and`")),
            _ => Ok(compared),
        }
    }

    fn negated_membership(&mut self, left: Node) -> Result<Node, Problem> {
        let Some(TokenKind::Word { text, quoted: false, .. }) = self.ahead(1) else {
            return Err(self.unexpected("an operator"));
        };
        match text.as_str() {
            "in" => {
                self.advance();
                self.list_membership(left, true)
            }
            word @ ("like" | "regex") => Err(self
                .unexpected("an operator")
                .help(format!("write `not field {word} ...`; only `not in` is one operator"))),
            _ => Err(self.unexpected("an operator")),
        }
    }

    fn list_membership(&mut self, left: Node, negated: bool) -> Result<Node, Problem> {
        let ignore_case = matches!(self.token().kind, TokenKind::Word { tilde: true, .. });
        self.advance();
        if !self.at_symbol("(") {
            return Err(self.unexpected("`(` and a list"));
        }
        let list = self.arguments("a value")?;
        let (extent, below) = (left.extent.to(self.previous()), left.height.max(height(&list)));
        node(NodeKind::In { value: Box::new(left), list, ignore_case, negated }, extent, below)
    }

    fn patterns(&mut self, left: Node, kind: MatchKind, ignore_case: bool) -> Result<Node, Problem> {
        self.advance();
        let patterns = if self.at_symbol("(") { self.arguments("a pattern")? } else { vec![self.sign()?] };
        let (extent, below) = (left.extent.to(self.previous()), left.height.max(height(&patterns)));
        node(NodeKind::Match { kind, value: Box::new(left), patterns, ignore_case }, extent, below)
    }

    /// `( a, b, ... )` with at least one.
    fn arguments(&mut self, wanted: &str) -> Result<Vec<Node>, Problem> {
        self.expect_symbol("(")?;
        let mut arguments = Vec::new();
        loop {
            if self.at_symbol(")") || self.at_symbol(",") {
                return Err(self.unexpected(wanted));
            }
            arguments.push(self.condition()?);
            if !self.eat_symbol(",") {
                self.expect_symbol(")").map_err(|problem| Problem {
                    message: problem.message.replacen("`)`", "`,` or `)`", 1),
                    ..problem
                })?;
                return Ok(arguments);
            }
        }
    }

    fn sum(&mut self) -> Result<Node, Problem> {
        let mut left = self.product()?;
        loop {
            let op = match self.token().kind {
                TokenKind::Symbol("+") => ArithmeticOp::Add,
                TokenKind::Symbol("-") => ArithmeticOp::Sub,
                _ => return Ok(left),
            };
            self.advance();
            let right = self.product()?;
            left = arithmetic(op, left, right)?;
        }
    }

    fn product(&mut self) -> Result<Node, Problem> {
        let mut left = self.sign()?;
        loop {
            let op = match self.token().kind {
                TokenKind::Symbol("*") => ArithmeticOp::Mul,
                TokenKind::Symbol("/") => ArithmeticOp::Div,
                TokenKind::Symbol("%") => ArithmeticOp::Rem,
                _ => return Ok(left),
            };
            self.advance();
            let right = self.sign()?;
            left = arithmetic(op, left, right)?;
        }
    }

    fn sign(&mut self) -> Result<Node, Problem> {
        let start = self.extent();
        let negative = self.eat_symbol("-");
        if !negative && !self.eat_symbol("+") {
            return self.primary();
        }
        let inner = self.deeper(Self::sign)?;
        let (extent, below) = (start.to(inner.extent), inner.height);
        if negative { node(NodeKind::Negative(Box::new(inner)), extent, below) } else { Ok(inner) }
    }

    fn primary(&mut self) -> Result<Node, Problem> {
        let token = self.token();
        let extent = token.extent;
        match &token.kind {
            TokenKind::Text(text) => {
                self.advance();
                node(NodeKind::Literal(Literal::Str(text.clone())), extent, 0)
            }
            TokenKind::Number(number) => {
                self.advance();
                node(NodeKind::Literal(number.clone()), extent, 0)
            }
            TokenKind::Symbol("(") => {
                self.advance();
                let mut inner = self.condition()?;
                self.expect_symbol(")")?;
                inner.extent = extent.to(self.previous());
                Ok(inner)
            }
            TokenKind::Symbol("?") => {
                self.advance();
                match &self.token().kind {
                    TokenKind::Word { text, quoted, .. } if *quoted || !KEYWORDS.contains(&text.as_str()) => {
                        self.field(text, true, extent)
                    }
                    _ => Err(self.unexpected("a field after `?`")),
                }
            }
            TokenKind::Word { text, quoted: false, tilde: false }
                if matches!(text.as_str(), "true" | "false" | "null") =>
            {
                self.advance();
                let literal = if text == "null" { Literal::Null } else { Literal::Bool(text == "true") };
                node(NodeKind::Literal(literal), extent, 0)
            }
            TokenKind::Word { text, quoted, tilde } if *quoted || !KEYWORDS.contains(&text.as_str()) => {
                if !quoted && matches!(self.ahead(1), Some(TokenKind::Symbol("("))) {
                    self.call(text, *tilde, extent)
                } else if *tilde {
                    Err(Problem::new("E0204", extent, format!("`~` behind `{text}`, which is no function call here")))
                } else {
                    self.field(text, false, extent)
                }
            }
            _ => Err(self.unexpected("a field, a value or `(`")),
        }
    }

    fn field(&mut self, path: &str, optional: bool, start: Extent) -> Result<Node, Problem> {
        self.advance();
        let extent = start.to(self.previous());
        if self.at_symbol("[") {
            return Err(Problem::new("E0204", self.extent(), "fields have no index")
                .help("an array field satisfies a comparison if any of its elements does"));
        }
        node(NodeKind::Field { path: path.to_string(), optional }, extent, 0)
    }

    fn call(&mut self, name: &str, ignore_case: bool, name_extent: Extent) -> Result<Node, Problem> {
        self.advance();
        let arguments = if matches!(self.ahead(1), Some(TokenKind::Symbol(")"))) {
            self.advance();
            self.advance();
            Vec::new()
        } else {
            self.arguments("an argument")?
        };
        let (extent, below) = (name_extent.to(self.previous()), height(&arguments));
        node(NodeKind::Call { name: name.to_string(), name_extent, arguments, ignore_case }, extent, below)
    }
}

fn arithmetic(op: ArithmeticOp, left: Node, right: Node) -> Result<Node, Problem> {
    let (extent, below) = (left.extent.to(right.extent), left.height.max(right.height));
    node(NodeKind::Arithmetic { op, left: Box::new(left), right: Box::new(right) }, extent, below)
}
