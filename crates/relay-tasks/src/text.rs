//! Numbers and tokens in text: one spelling for each, read and written without allocation.

/// Appends `number` in decimal digits.
///
/// Hand-written because `write!` costs more than everything else in making a problem.
pub(crate) fn push_number(text: &mut String, mut number: u32) {
    let mut digits = [0_u8; 10];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    text.extend(digits[start..].iter().map(|&digit| char::from(digit)));
}

/// Reads a number token: decimal digits without sign or leading zeros, so that each number has one spelling.
pub(crate) fn parse_number(token: &str) -> Option<u32> {
    let bytes = token.as_bytes();
    let canonical =
        bytes.iter().all(u8::is_ascii_digit) && (bytes.len() == 1 || bytes.first() != Some(&b'0'));
    if canonical { token.parse().ok() } else { None }
}

/// A token as shown in a message: a piece of it where it is long.
pub(crate) fn shown(token: &str) -> String {
    const LONGEST: usize = 32;
    match token.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("`{}...`", &token[..end]),
        None => format!("`{token}`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_one_spelling() {
        for number in [0, 7, 10, 249, 65_521, u32::MAX] {
            let mut text = String::from("x ");
            push_number(&mut text, number);
            assert_eq!(text, format!("x {number}"));
            assert_eq!(parse_number(&text[2..]), Some(number));
        }
        for wrong in ["", "-1", "+1", "01", "1.0", "a", "4294967296", "٣"] {
            assert_eq!(parse_number(wrong), None, "{wrong}");
        }
    }
}
