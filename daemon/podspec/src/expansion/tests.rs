use proptest::prelude::*;

use super::*;

fn expanded(text: &str) -> String {
    let known = |name: &str| match name {
        "VAR_A" => Some("A"),
        "VAR_B" => Some("B"),
        "VAR_REF" => Some("$(VAR_A)"),
        "VAR_EMPTY" | "" => Some(""),
        _ => None,
    };
    String::from_utf8(expand(text, known)).expect("text of text")
}

#[test]
fn row_16_2_references_are_replaced_and_what_is_none_stays() {
    let table = [
        ("", ""),
        ("$", "$"),
        ("no reference", "no reference"),
        ("$(VAR_A)", "A"),
        ("___$(VAR_B)___", "___B___"),
        ("$(VAR_A)_$(VAR_B)", "A_B"),
        ("$(VAR_A)$(VAR_B)", "AB"),
        // An empty value is a value; a name may be empty too.
        ("foo-$(VAR_EMPTY)-bar-$()", "foo--bar-"),
        // What was put in is not expanded again.
        ("$(VAR_REF)", "$(VAR_A)"),
        ("$(NONE)", "$(NONE)"),
        ("$$(VAR_A)", "$(VAR_A)"),
        ("$$$(VAR_A)", "$A"),
        ("$$$$(VAR_A)", "$$(VAR_A)"),
        ("\\$(VAR_A)", "\\A"),
        ("$VAR_A", "$VAR_A"),
        ("${VAR_A}", "${VAR_A}"),
        ("$(VAR_A", "$(VAR_A"),
        ("$$(VAR_A", "$(VAR_A"),
        ("$(VAR_A))", "A)"),
        ("foo$", "foo$"),
        ("$$", "$"),
        ("$($(VAR_A)", "$($(VAR_A)"),
        ("$ä$(VAR_A)ö", "$äAö"),
    ];
    for (text, expected) in table {
        assert_eq!(expanded(text), expected, "{text}");
    }
}

proptest! {
    #[test]
    fn text_without_a_dollar_stays_and_doubling_each_dollar_protects_any_text(text in "[a-z$()_A-Zäß ]{0,40}") {
        prop_assert_eq!(expanded(&text.replace('$', "")), text.replace('$', ""));
        prop_assert_eq!(expanded(&text.replace('$', "$$")), text);
    }
}

#[test]
fn any_text_is_expanded_to_no_more_than_its_values_allow() {
    bolero::check!().with_type::<(String, Vec<u8>)>().for_each(|(text, value)| {
        let all = expand(text, |_| Some(value));
        let references = text.matches("$(").count();
        assert!(all.len() <= text.len() + references * value.len());
        // Nothing known: only doubled signs get shorter.
        let none = expand(text, |_| None::<&[u8]>);
        assert!(none.len() <= text.len() && 2 * none.len() >= text.len());
    });
}
