//! The syntax of patterns, and whether one covers another.

/// A character of a pattern, or a wildcard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    Char(char),
    /// `/` in the names of repositories.
    Slash,
    /// `?`
    Any,
    /// `[a-z]`
    Class(String),
    /// `*`
    Star,
    /// `**`
    Components,
}

/// Refuses the syntax of other globs, because a pattern that took it for literal characters would match nothing.
pub(super) fn check_syntax(text: &str, components: bool) -> Result<(), String> {
    if text.is_empty() {
        return Err("a pattern is not empty".to_owned());
    }
    if components && text.contains(':') {
        return Err("names have no colon: a host's port stands behind an underscore, as in registry_5000/**".to_owned());
    }
    if let Some(odd) = text.chars().find(|c| matches!(c, '{' | '}' | '\\') || (components && matches!(c, '!' | '^'))) {
        return Err(format!(
            "{odd} has no meaning in a pattern: there are *, ? and [a-z]{}; write alternatives as several patterns",
            if components { ", and ** for any components" } else { "" }
        ));
    }
    Ok(())
}

pub(super) fn tokens(text: &str, components: bool) -> Result<Vec<Token>, String> {
    const CLASS: &str = "a class is letters, digits, '.', '_', '-' and ranges between brackets, as in [a-z0-9]";
    let (mut tokens, mut rest) = (Vec::new(), text);
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        tokens.push(match c {
            '*' if components && rest.starts_with('*') => {
                rest = &rest[1..];
                let begins = matches!(tokens.last(), None | Some(Token::Slash));
                if !begins || !(rest.is_empty() || rest.starts_with('/')) {
                    return Err("** is a whole component, as in team/**".to_owned());
                }
                Token::Components
            }
            '*' => Token::Star,
            '?' => Token::Any,
            '/' if components => Token::Slash,
            '[' | ']' => match rest.split_once(']') {
                Some((class, after)) if c == '[' && is_class(class.as_bytes()) => {
                    rest = after;
                    Token::Class(class.to_owned())
                }
                _ => return Err(CLASS.to_owned()),
            },
            c => Token::Char(c),
        });
    }
    Ok(tokens)
}

/// Whether a text is the inside of a class: characters of names, and ranges among digits or letters of one case. So no
/// class contains a slash, and none is negated.
fn is_class(text: &[u8]) -> bool {
    let kind = |byte: u8| match byte {
        b'0'..=b'9' => Some(0),
        b'a'..=b'z' => Some(1),
        b'A'..=b'Z' => Some(2),
        _ => None,
    };
    let mut rest = text;
    while let [first, others @ ..] = rest {
        rest = match others {
            [b'-', last, others @ ..] if kind(*first).is_some() && kind(*first) == kind(*last) && first <= last => {
                others
            }
            [b'-', _, ..] => return false,
            others if kind(*first).is_some() || matches!(first, b'.' | b'_' | b'-') => others,
            _ => return false,
        };
    }
    !text.is_empty()
}

/// Whether every name that matches `narrow` matches `wide`. A wildcard covers only tokens that it can replace one by
/// one, so the answer may be `false` although there is no counterexample.
pub(super) fn covers(wide: &[Token], narrow: &[Token]) -> bool {
    let Some((first, others)) = wide.split_first() else {
        return narrow.is_empty();
    };
    let is_covered = |token: &Token| match first {
        Token::Any => matches!(token, Token::Any | Token::Char(_) | Token::Class(_)),
        Token::Star => !matches!(token, Token::Slash | Token::Components),
        first => first == token,
    };
    match (first, narrow.split_first()) {
        (Token::Star, _) => {
            let most = narrow.iter().take_while(|token| is_covered(token)).count();
            (0..=most).any(|taken| covers(others, &narrow[taken..]))
        }
        // At least one component.
        (Token::Components, _) => (1..=narrow.len()).any(|taken| covers(others, &narrow[taken..])),
        (_, Some((token, rest))) => is_covered(token) && covers(others, rest),
        (_, None) => false,
    }
}
