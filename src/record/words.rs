//! The PBX's words for direction and end reason, one spelling for each meaning.
//!
//! Spellings collected from the vendor's pages for WSI and webhooks 16 to 22.3
//! and from the REST description; REST writes them in capitals.

/// `internal`, `inbound`, `outbound`, `inbound_outbound`, or the PBX's own word.
pub(super) fn direction(word: &str) -> String {
    let word = word.trim();
    match word.to_ascii_lowercase().as_str() {
        "ext" | "internal" | "extension_call" => "internal",
        "in" | "inbound" | "inbound_call" => "inbound",
        "out" | "outbound" | "outbound_call" => "outbound",
        "in2out" | "inbound_outbound" | "inbound_outbound_call" => "inbound_outbound",
        _ => word,
    }
    .to_owned()
}

/// Why a call or its part at a target ended; `None` for the PBX's "None".
/// A word not in this table comes out in lower case.
pub(super) fn end_reason(word: &str) -> Option<String> {
    let word = word.trim().to_lowercase();
    let known = match word.as_str() {
        "" | "none" => return None,
        "caller_disconnect" | "caller_disconnected" => "caller_disconnected",
        "callee_disconnect" | "callee_disconnected" => "callee_disconnected",
        "blind_transfer_complete" | "blind_transfer_completed" => "blind_transfer_completed",
        "attended_transfer_complete" | "attended_transfer_completed" => {
            "attended_transfer_completed"
        }
        "consult_transfer_complete" | "consult_transfer_completed" => "consult_transfer_completed",
        "cancelled" | "canceled" => "cancelled",
        // `replaced`, `referred`, `redirected` have one spelling; new words pass.
        _ => return Some(word),
    };
    Some(known.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_direction_has_one_form() {
        for (form, spellings) in [
            ("internal", ["ext", "internal", "EXTENSION_CALL"]),
            ("inbound", ["in", "inbound", "INBOUND_CALL"]),
            ("outbound", ["out", "outbound", "OUTBOUND_CALL"]),
            ("inbound_outbound", ["in2out", "inbound_outbound", "INBOUND_OUTBOUND_CALL"]),
            ("Conference", ["Conference", " Conference", "Conference "]),
        ] {
            for spelling in spellings {
                assert_eq!(direction(spelling), form);
            }
        }
    }

    #[test]
    fn every_spelling_of_an_end_reason_has_one_form() {
        for (form, spellings) in [
            (
                "caller_disconnected",
                ["caller_disconnect", "caller_disconnected", "CALLER_DISCONNECTED"],
            ),
            (
                "callee_disconnected",
                ["callee_disconnect", "callee_disconnected", "CALLEE_DISCONNECTED"],
            ),
            ("replaced", ["replaced", "REPLACED", "Replaced"]),
            ("referred", ["referred", "REFERRED", "Referred"]),
            ("redirected", ["redirected", "REDIRECTED", "Redirected"]),
            (
                "blind_transfer_completed",
                ["blind_transfer_complete", "blind_transfer_completed", "BLIND_TRANSFER_COMPLETED"],
            ),
            (
                "attended_transfer_completed",
                [
                    "attended_transfer_complete",
                    "attended_transfer_completed",
                    "ATTENDED_TRANSFER_COMPLETE",
                ],
            ),
            (
                "consult_transfer_completed",
                [
                    "consult_transfer_complete",
                    "consult_transfer_completed",
                    "CONSULT_TRANSFER_COMPLETED",
                ],
            ),
            ("cancelled", ["cancelled", "canceled", "CANCELLED"]),
            ("moon_phase", ["moon_phase", "Moon_Phase", "MOON_PHASE"]),
        ] {
            for spelling in spellings {
                assert_eq!(end_reason(spelling).as_deref(), Some(form));
            }
        }
        for none in ["None", "none", "NONE", "", " "] {
            assert_eq!(end_reason(none), None);
        }
    }
}
