use super::*;

const FILE: &str = "# settings\n\n  \t\n  A='one'\nEMPTY=''\nSHELL= 'two'\nMANY='a\n # b\n'  # why\nQUOTED='say \"$A\"'\nA='again'\r\nCR='x'\r\n";

fn read(text: &str, key: &str) -> Result<Option<String>, String> {
    let found = value(text.as_bytes(), key).map_err(|e| e.to_string())?;
    Ok(found.map(|bytes| String::from_utf8(bytes).expect("text")))
}

#[test]
fn row_16_8_values_stand_in_single_quotes_and_may_have_many_lines() {
    let table = [
        ("A", Some("one")),
        ("EMPTY", Some("")),
        ("SHELL", Some("")),
        ("MANY", Some("a\n # b\n")),
        ("QUOTED", Some("say \"$A\"")),
        ("CR", Some("x")),
        ("NONE", None),
        ("", None),
    ];
    for (key, expected) in table {
        assert_eq!(read(FILE, key), Ok(expected.map(str::to_owned)), "{key}");
    }
}

#[test]
fn row_16_8_a_wrong_line_before_the_value_is_told_by_its_number_and_not_by_its_content() {
    let table = [
        ("A='1'\nsecret", "at line 2: missing '='"),
        ("='secret'", "at line 1: empty variable name"),
        ("K ='secret'", "at line 1: whitespace before '=' is not allowed"),
        ("\nK=secret", "at line 2: value must be enclosed in single quotes"),
        ("K=\"secret\"", "at line 1: value must be enclosed in single quotes"),
        ("K='secret' x", "at line 1: unexpected content after closing quote"),
        ("K='secret\nmore", "at line 1: unclosed single quote"),
    ];
    for (text, expected) in table {
        assert_eq!(read(text, "K"), Err(format!("invalid environment variable format {expected}")), "{text}");
    }
    assert_eq!(read("K='v'\nsecret", "K"), Ok(Some("v".to_owned())), "what comes after is not looked at");
}

#[test]
fn no_file_makes_the_parser_panic_and_no_value_is_longer_than_its_file() {
    bolero::check!().with_type::<(Vec<u8>, u8)>().for_each(|(bytes, key)| {
        if let Ok(Some(value)) = value(bytes, &char::from(*key).to_string()) {
            assert!(value.len() < bytes.len());
        }
    });
}
