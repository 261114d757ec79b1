//! What keys do. Pure.

use super::rows::Order;

/// A filter is not longer than a name.
const FILTER_BYTES: usize = 253;
/// Rows that a page key goes.
const PAGE: usize = 10;

/// What is shown of the rows.
#[derive(Debug)]
pub(super) struct View {
    pub(super) order: Order,
    pub(super) filter: String,
    /// Keys are part of the filter.
    pub(super) is_typing: bool,
    /// The first row that is shown.
    pub(super) first: usize,
}

/// Whether somebody has seen enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Done {
    Yes,
    No,
}

impl View {
    pub(super) fn new(order: Order, filter: String) -> Self {
        Self { order, filter, is_typing: false, first: 0 }
    }

    /// Takes what was typed since the last time.
    pub(super) fn type_in(&mut self, typed: &[u8]) -> Done {
        let text = String::from_utf8_lossy(typed);
        let mut rest = text.as_ref();
        while let Some(key) = rest.chars().next() {
            // An escape alone is the key; arrows and others begin with one.
            if key == '\x1b' && rest.len() > 1 {
                let end = rest.char_indices().skip(2).find(|(_, c)| c.is_ascii_alphabetic() || *c == '~');
                let end = end.map_or(rest.len(), |(at, _)| at + 1);
                self.sequence(&rest[1..end]);
                rest = &rest[end..];
                continue;
            }
            rest = &rest[key.len_utf8()..];
            let done = if self.is_typing { self.filter_key(key) } else { self.key(key) };
            if done == Done::Yes {
                return done;
            }
        }
        Done::No
    }

    fn key(&mut self, key: char) -> Done {
        match key {
            'q' | '\x03' | '\x04' => return Done::Yes,
            'c' => self.sort(Order::Cpu),
            'm' => self.sort(Order::Memory),
            'n' => self.sort(Order::Name),
            'r' => self.sort(Order::Restarts),
            '/' => self.is_typing = true,
            '\x1b' => self.filter.clear(),
            'k' => self.first = self.first.saturating_sub(1),
            'j' => self.first = self.first.saturating_add(1),
            'g' => self.first = 0,
            _ => {}
        }
        Done::No
    }

    fn filter_key(&mut self, key: char) -> Done {
        match key {
            '\x03' => return Done::Yes,
            '\r' | '\n' => self.is_typing = false,
            '\x1b' => {
                self.is_typing = false;
                self.filter.clear();
            }
            '\x08' | '\x7f' => _ = self.filter.pop(),
            key if !key.is_control() && self.filter.len() < FILTER_BYTES => self.filter.push(key),
            _ => {}
        }
        self.first = 0;
        Done::No
    }

    /// A key that sends more than one character, without the escape.
    fn sequence(&mut self, sequence: &str) {
        match sequence {
            "[A" | "OA" => self.first = self.first.saturating_sub(1),
            "[B" | "OB" => self.first = self.first.saturating_add(1),
            "[5~" => self.first = self.first.saturating_sub(PAGE),
            "[6~" => self.first = self.first.saturating_add(PAGE),
            "[H" | "OH" | "[1~" => self.first = 0,
            _ => {}
        }
    }

    fn sort(&mut self, order: Order) {
        self.order = order;
        self.first = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view() -> View {
        View::new(Order::Cpu, String::new())
    }

    #[test]
    fn keys_sort_scroll_filter_and_end() {
        let mut view = view();
        assert_eq!(view.type_in(b"m\x1b[B\x1b[B\x1b[A"), Done::No);
        assert_eq!((view.order, view.first), (Order::Memory, 1));
        view.type_in("/wäbx\x7f".as_bytes());
        assert_eq!((view.filter.as_str(), view.is_typing, view.first), ("wäb", true, 0));
        assert_eq!(view.type_in(b"q\r"), Done::No, "it is part of the filter");
        assert_eq!((view.filter.as_str(), view.is_typing), ("wäbq", false));
        view.type_in(b"\x1b");
        assert_eq!(view.filter, "");
        view.type_in(b"\x1b[6~k");
        assert_eq!(view.first, 9);
        assert_eq!(view.type_in(b"n\x03"), Done::Yes);
    }

    #[test]
    fn whatever_is_typed_is_taken() {
        bolero::check!().for_each(|input: &[u8]| {
            let mut view = view();
            view.type_in(input);
            assert!(view.filter.len() <= FILTER_BYTES + 3);
        });
    }
}
