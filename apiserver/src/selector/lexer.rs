//! The words and operators of a label selector.

/// What a piece of the text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token {
    Word,
    In,
    NotIn,
    Not,
    Equals,
    NotEquals,
    Greater,
    Less,
    Open,
    Close,
    Comma,
    /// `=!` and the like: no operator at all.
    Wrong,
    End,
}

/// A token and the text it was made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Item<'a> {
    pub(super) token: Token,
    pub(super) text: &'a str,
}

fn is_operator(c: char) -> bool {
    matches!(c, '=' | '!' | '(' | ')' | ',' | '>' | '<')
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

/// All tokens of a text; the last is always [`Token::End`].
pub(super) fn items(text: &str) -> Vec<Item<'_>> {
    let mut items = Vec::new();
    let mut rest = text.trim_start_matches(is_space);
    while let Some(first) = rest.chars().next() {
        let (token, length) = if is_operator(first) { operator(rest) } else { word(rest) };
        let (head, tail) = rest.split_at(length);
        items.push(Item { token, text: head });
        rest = tail.trim_start_matches(is_space);
    }
    items.push(Item { token: Token::End, text: "" });
    items
}

fn word(rest: &str) -> (Token, usize) {
    let length = rest.find(|c| is_operator(c) || is_space(c)).unwrap_or(rest.len());
    let token = match &rest[..length] {
        "in" => Token::In,
        "notin" => Token::NotIn,
        _ => Token::Word,
    };
    (token, length)
}

/// The longest operator at the start of `rest`.
fn operator(rest: &str) -> (Token, usize) {
    const OPERATORS: &[(&str, Token)] = &[
        ("==", Token::Equals),
        ("!=", Token::NotEquals),
        ("=", Token::Equals),
        ("!", Token::Not),
        (">", Token::Greater),
        ("<", Token::Less),
        ("(", Token::Open),
        (")", Token::Close),
        (",", Token::Comma),
    ];
    OPERATORS
        .iter()
        .find(|(text, _)| rest.starts_with(text))
        .map_or((Token::Wrong, 1), |(text, token)| (*token, text.len()))
}
