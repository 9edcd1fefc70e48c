//! Which valid word a mistyped one was probably meant to be.

/// The candidate nearest to `word`, unless none is near enough to be a typing error.
pub(super) fn nearest<'c, C: AsRef<str>>(word: &str, candidates: &'c [C]) -> Option<&'c str> {
    let lower = word.to_lowercase().replace('-', "_");
    let distance = |candidate: &str| strsim::damerau_levenshtein(&lower, candidate);
    // A third of the letters: "hedaers" is still "headers", "port" is no longer "path".
    let limit = (word.chars().count() / 3).clamp(1, 3);
    let ranked = candidates.iter().map(|c| (distance(c.as_ref()), c.as_ref()));
    ranked.min().filter(|(distance, _)| *distance <= limit).map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typing_errors_find_their_word_and_other_words_find_none() {
        let keys = ["ping_interval", "ping_timeout", "path", "tls"];
        assert_eq!(nearest("ping_intervall", &keys), Some("ping_interval"));
        assert_eq!(nearest("Ping-Interval", &keys), Some("ping_interval"));
        assert_eq!(nearest("pingtimeout", &keys), Some("ping_timeout"));
        assert_eq!(nearest("tsl", &keys), Some("tls"));
        assert_eq!(nearest("banana", &keys), None);
        assert_eq!(nearest("port", &keys), None);
        assert_eq!(nearest("x", &[] as &[&str]), None);
    }
}
