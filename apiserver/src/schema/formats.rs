//! Texts with a form of their own. Each function says what is wrong, or gives the normal form where the text is not in it.

use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use podspec::Quantity;

const QUANTITY_RULE: &str =
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";

fn changed(text: &str, normal: String) -> Option<String> {
    (normal != text).then_some(normal)
}

/// RFC 3339; the API keeps whole seconds in UTC.
pub(crate) fn time(text: &str) -> Result<Option<String>, String> {
    Ok(changed(text, timestamp(text)?.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()))
}

/// RFC 3339; the API keeps six digits of a second in UTC.
pub(crate) fn micro_time(text: &str) -> Result<Option<String>, String> {
    Ok(changed(text, timestamp(text)?.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()))
}

fn timestamp(text: &str) -> Result<Timestamp, String> {
    let problem = || format!("parsing time {text:?} as \"2006-01-02T15:04:05Z07:00\": cannot parse it");
    // jiff reads more than RFC 3339, such as dates with a week day or a zone in brackets.
    if !has_rfc3339_form(text.as_bytes()) {
        return Err(problem());
    }
    text.parse().map_err(|_| problem())
}

fn has_rfc3339_form(text: &[u8]) -> bool {
    const HEAD: &[u8] = b"0000-00-00T00:00:00";
    let matches_form = |text: &[u8], form: &[u8]| {
        text.len() == form.len()
            && text.iter().zip(form).all(|(t, f)| if *f == b'0' { t.is_ascii_digit() } else { t == f })
    };
    let Some((head, mut rest)) = text.split_at_checked(HEAD.len()) else { return false };
    if let Some(fraction) = rest.strip_prefix(b".") {
        let digits = fraction.iter().take_while(|c| c.is_ascii_digit()).count();
        if digits == 0 {
            return false;
        }
        rest = &fraction[digits..];
    }
    let zone = rest == b"Z" || matches_form(rest, b"+00:00") || matches_form(rest, b"-00:00");
    matches_form(head, HEAD) && zone
}

/// Standard base64 with padding; line breaks are taken out.
pub(crate) fn base64(text: &str) -> Result<Option<String>, String> {
    let joined: String = text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
    match STANDARD.decode(&joined) {
        Ok(_) => Ok(changed(text, joined)),
        Err(base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol(at, _)) => {
            Err(format!("illegal base64 data at input byte {at}"))
        }
        Err(_) => Err(format!("illegal base64 data at input byte {}", joined.len())),
    }
}

/// A quantity in its canonical form: `1000m` is `1`, `0.5` is `500m`.
pub(crate) fn quantity(text: &str) -> Result<Option<String>, String> {
    let quantity = Quantity::from_str(text).map_err(|_| QUANTITY_RULE.to_owned())?;
    Ok(changed(text, quantity.to_string()))
}
