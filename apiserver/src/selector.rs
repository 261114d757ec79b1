//! Label and field selectors: parsing with upstream's messages, and matching.
//!
//! [`LabelSelector`] is the grammar of `labelSelector=` (`a=b,c!=d,e in (f,g),h,!i,j>1`), [`FieldSelector`] that of
//! `fieldSelector=` (`a=b,c!=d`, with `\` before `,`, `=` and `\` in values). Which fields exist is the kind's matter.

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde_json::Value;

use crate::kinds::field::{FieldError, Path};
use crate::kinds::names;

mod fields;
mod lexer;

pub(crate) use fields::FieldSelector;
use lexer::{Item, Token};

/// Longest selector that is read, in bytes.
pub(crate) const SELECTOR_LIMIT: usize = 64 * 1024;

/// A selector that cannot be understood; a 400.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SelectorError {
    #[error("unable to parse requirement: {0}")]
    Requirement(RequirementError),
    #[error("found '{found}', expected: {expected}")]
    Unexpected { found: String, expected: &'static str },
    #[error("invalid selector: '{selector}'; can't understand '{term}'")]
    Term { selector: String, term: String },
    #[error("invalid field selector: invalid escape sequence: {0}")]
    Escape(String),
    #[error("invalid field selector: unescaped character in value: {0}")]
    Unescaped(char),
    #[error("the selector has {0} bytes, more than {SELECTOR_LIMIT}")]
    TooLong(usize),
}

/// One requirement of a label selector that cannot be understood.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RequirementError {
    #[error("found '{found}', expected: {expected}")]
    Unexpected { found: String, expected: &'static str },
    #[error(transparent)]
    Value(FieldError),
}

/// A parsed label selector: all requirements hold. Without requirements it matches everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct LabelSelector(Vec<Requirement>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Test {
    Exists,
    Absent,
    In(BTreeSet<String>),
    NotIn(BTreeSet<String>),
    Above(i64),
    Below(i64),
}

impl LabelSelector {
    pub(crate) fn parse(text: &str) -> Result<Self, SelectorError> {
        if text.len() > SELECTOR_LIMIT {
            return Err(SelectorError::TooLong(text.len()));
        }
        let mut parser = Parser { items: lexer::items(text), position: 0 };
        parser.selector().map(Self)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether an object's `metadata.labels` meet all requirements.
    pub(crate) fn matches(&self, object: &Value) -> bool {
        let labels = object.pointer("/metadata/labels");
        self.0.iter().all(|r| r.test.holds(labels.and_then(|l| l.get(&r.key)).and_then(Value::as_str)))
    }
}

impl Test {
    fn holds(&self, value: Option<&str>) -> bool {
        match self {
            Self::Exists => value.is_some(),
            Self::Absent => value.is_none(),
            Self::In(set) => value.is_some_and(|v| set.contains(v)),
            Self::NotIn(set) => value.is_none_or(|v| !set.contains(v)),
            Self::Above(limit) => value.and_then(|v| v.parse::<i64>().ok()).is_some_and(|v| v > *limit),
            Self::Below(limit) => value.and_then(|v| v.parse::<i64>().ok()).is_some_and(|v| v < *limit),
        }
    }
}

struct Parser<'a> {
    items: Vec<Item<'a>>,
    position: usize,
}

const BINARY_OPERATORS: &str = "in, notin, =, ==, !=, gt, lt";

impl<'a> Parser<'a> {
    /// Where a key or a value stands, `in` and `notin` are ordinary words.
    fn peek_word(&self) -> Item<'a> {
        let item = self.items[self.position.min(self.items.len() - 1)];
        match item.token {
            Token::In | Token::NotIn => Item { token: Token::Word, ..item },
            _ => item,
        }
    }

    fn take_word(&mut self) -> Item<'a> {
        let item = self.peek_word();
        self.position += 1;
        item
    }

    fn take(&mut self) -> Item<'a> {
        let item = self.items[self.position.min(self.items.len() - 1)];
        self.position += 1;
        item
    }

    fn selector(&mut self) -> Result<Vec<Requirement>, SelectorError> {
        let unexpected =
            |item: Item<'_>, expected| SelectorError::Unexpected { found: item.text.to_owned(), expected };
        let mut requirements = Vec::new();
        loop {
            let next = self.peek_word();
            match next.token {
                Token::Word | Token::Not => {
                    requirements.push(self.requirement().map_err(SelectorError::Requirement)?)
                }
                Token::End => return Ok(requirements),
                _ => return Err(unexpected(next, "!, identifier, or 'end of string'")),
            }
            let separator = self.take_word();
            match separator.token {
                Token::End => return Ok(requirements),
                Token::Comma => {
                    let next = self.peek_word();
                    if !matches!(next.token, Token::Word | Token::Not) {
                        return Err(unexpected(next, "identifier after ','"));
                    }
                }
                _ => return Err(unexpected(separator, "',' or 'end of string'")),
            }
        }
    }

    fn requirement(&mut self) -> Result<Requirement, RequirementError> {
        let mut key = self.take_word();
        let absent = key.token == Token::Not;
        if absent {
            key = self.take_word();
        }
        if key.token != Token::Word {
            return Err(unexpected(key, "identifier"));
        }
        let problems = names::qualified_name(key.text);
        if !problems.is_empty() {
            let error = FieldError::invalid(&Path::root(), key.text, &problems.join("; "));
            return Err(RequirementError::Value(error));
        }
        let key = key.text.to_owned();
        if absent {
            return Ok(Requirement { key, test: Test::Absent });
        }
        if matches!(self.peek_word().token, Token::End | Token::Comma) {
            return Ok(Requirement { key, test: Test::Exists });
        }
        let operator = self.take();
        let test = match operator.token {
            Token::In => Test::In(self.values(&key)?),
            Token::NotIn => Test::NotIn(self.values(&key)?),
            Token::Equals => Test::In(BTreeSet::from([self.exact_value(&key)?])),
            Token::NotEquals => Test::NotIn(BTreeSet::from([self.exact_value(&key)?])),
            Token::Greater => Test::Above(self.number(&key)?),
            Token::Less => Test::Below(self.number(&key)?),
            _ => return Err(unexpected(operator, BINARY_OPERATORS)),
        };
        Ok(Requirement { key, test })
    }

    fn exact_value(&mut self, key: &str) -> Result<String, RequirementError> {
        let next = self.peek_word();
        if matches!(next.token, Token::End | Token::Comma) {
            return Ok(String::new());
        }
        let value = self.take_word();
        if value.token != Token::Word {
            return Err(unexpected(value, "identifier"));
        }
        check_value(key, 0, value.text)?;
        Ok(value.text.to_owned())
    }

    fn number(&mut self, key: &str) -> Result<i64, RequirementError> {
        let text = self.exact_value(key)?;
        text.parse().map_err(|_| {
            let path = Path::new("values").index(0);
            RequirementError::Value(FieldError::invalid(
                &path,
                &text,
                "for 'Gt', 'Lt' operators, the value must be an integer",
            ))
        })
    }

    /// `(a,b)`. An empty place between commas stands for the empty string.
    fn values(&mut self, key: &str) -> Result<BTreeSet<String>, RequirementError> {
        let open = self.take_word();
        if open.token != Token::Open {
            return Err(unexpected(open, "'('"));
        }
        let mut values = BTreeSet::new();
        if self.peek_word().token == Token::Close {
            let detail = "for 'in', 'notin' operators, values set can't be empty";
            return Err(RequirementError::Value(FieldError::invalid(
                &Path::new("values"),
                &Value::Array(vec![]),
                detail,
            )));
        }
        loop {
            let item = self.take_word();
            match item.token {
                Token::Word => {
                    check_value(key, values.len(), item.text)?;
                    values.insert(item.text.to_owned());
                    let next = self.take_word();
                    match next.token {
                        Token::Comma if self.peek_word().token == Token::Close => {
                            values.insert(String::new());
                        }
                        Token::Comma => {}
                        Token::Close => return Ok(values),
                        _ => return Err(unexpected(next, "',' or ')'")),
                    }
                }
                Token::Comma => {
                    values.insert(String::new());
                }
                Token::Close => return Ok(values),
                _ => return Err(unexpected(item, "',', ')' or identifier")),
            }
        }
    }
}

fn unexpected(item: Item<'_>, expected: &'static str) -> RequirementError {
    RequirementError::Unexpected { found: item.text.to_owned(), expected }
}

fn check_value(key: &str, index: usize, value: &str) -> Result<(), RequirementError> {
    let problems = names::label_value(value);
    if problems.is_empty() {
        return Ok(());
    }
    let path = Path::new("values").index(index).key(key);
    Err(RequirementError::Value(FieldError::invalid(&path, value, &problems.join("; "))))
}

/// What a field is, as the kind tells it: `None` for a field that cannot be selected by.
pub(crate) type FieldValue<'a> = Option<Cow<'a, str>>;

#[cfg(test)]
mod tests;
