use proptest::prelude::*;

use super::*;

fn q(text: &str) -> Quantity {
    text.parse().expect("a quantity")
}

#[test]
fn texts_are_printed_in_their_canonical_form() {
    for (text, canonical) in [
        ("0", "0"),
        ("100m", "100m"),
        ("0.1", "100m"),
        ("1500m", "1500m"),
        ("2000m", "2"),
        ("1Gi", "1Gi"),
        ("1024Mi", "1Gi"),
        ("1536Mi", "1536Mi"),
        ("0.5Gi", "512Mi"),
        ("1000Ki", "1000Ki"),
        ("512Ki", "512Ki"),
        ("1000", "1k"),
        ("1e3", "1e3"),
        ("12E6", "12e6"),
        ("-5m", "-5m"),
        ("+7", "7"),
        ("1n", "1n"),
        ("0.1n", "1n"),
        (".5", "500m"),
        ("5.", "5"),
        ("24684084Ki", "24684084Ki"),
        ("100Ei", "9223372036854775807"),
    ] {
        assert_eq!(q(text).to_string(), canonical, "{text}");
    }
}

#[test]
fn values_are_rounded_up() {
    assert_eq!(q("1m").value(), 1);
    assert_eq!(q("1.2").milli_value(), 1200);
    assert_eq!(q("1u").milli_value(), 1);
    assert_eq!(q("-1500m").value(), -1);
    assert_eq!(q("64Mi").value(), 67_108_864);
}

#[test]
fn what_is_no_quantity_is_refused_and_named() {
    for text in ["", "x", "1x", "1.2.3", "-", "1 ", "Mi", "1e", "1e999999999999", "1ki", "٣"] {
        let error = text.parse::<Quantity>().expect_err(text);
        assert_eq!(error.text, text);
    }
}

#[test]
fn comparison_is_by_amount_and_not_by_writing() {
    assert_eq!(q("1"), q("1000m"));
    assert!(q("1Ki") > q("1k"));
}

proptest! {
    #[test]
    fn the_canonical_form_means_the_same(nanos in -(MAX)..MAX, binary in any::<bool>()) {
        let format = if binary { Format::BinarySi } else { Format::DecimalSi };
        let quantity = Quantity { nanos, format };
        prop_assert_eq!(q(&quantity.to_string()), quantity);
    }
}

#[test]
fn no_text_makes_the_parser_panic() {
    bolero::check!().with_type::<String>().for_each(|text: &String| {
        if let Ok(quantity) = text.parse::<Quantity>() {
            assert_eq!(q(&quantity.to_string()), quantity);
        }
    });
}
