//! Exact addition of costs. No floats: this is money.

/// The sum of decimal numbers such as `0.10`, with as many places as the most
/// precise of them. `None` if there is none, or one is not a plain decimal.
pub(super) fn sum<'a>(costs: impl Iterator<Item = &'a str>) -> Option<String> {
    let costs: Vec<Decimal> = costs.map(Decimal::read).collect::<Option<_>>()?;
    let places = costs.iter().map(|cost| cost.places).max()?;
    let total = costs.iter().try_fold(0i128, |total, cost| {
        let scale = 10i128.checked_pow(places - cost.places)?;
        total.checked_add(cost.digits.checked_mul(scale)?)
    })?;
    Some(Decimal { digits: total, places }.text())
}

/// `digits` divided by ten to the power of `places`.
struct Decimal {
    digits: i128,
    places: u32,
}

impl Decimal {
    fn read(text: &str) -> Option<Self> {
        let text = text.trim();
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let unsigned = whole.strip_prefix('-').unwrap_or(whole);
        let mut digits = unsigned.bytes().chain(fraction.bytes());
        if unsigned.is_empty() || !digits.all(|b| b.is_ascii_digit()) {
            return None;
        }
        let places = u32::try_from(fraction.len()).ok()?;
        Some(Decimal { digits: format!("{whole}{fraction}").parse().ok()?, places })
    }

    fn text(&self) -> String {
        let sign = if self.digits < 0 { "-" } else { "" };
        let places = self.places as usize;
        let digits = format!("{:0>width$}", self.digits.unsigned_abs(), width = places + 1);
        let (whole, fraction) = digits.split_at(digits.len() - places);
        let point = if places > 0 { "." } else { "" };
        format!("{sign}{whole}{point}{fraction}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_add_up_exactly() {
        for (costs, expected) in [
            (&["0.1", "0.2"][..], Some("0.3")),
            (&["0.10", "1"], Some("1.10")),
            (&["0.999", "0.001"], Some("1.000")),
            (&["-0.05", "0.02"], Some("-0.03")),
            (&["12345678901234567890.01", "0.01"], Some("12345678901234567890.02")),
            (&["7"], Some("7")),
            (&[], None),
            (&["1", "EUR 2"], None),
            (&["1e3"], None),
            (&["."], None),
            (&["-"], None),
        ] {
            assert_eq!(sum(costs.iter().copied()).as_deref(), expected, "{costs:?}");
        }
        let huge = "9".repeat(60);
        assert_eq!(sum([huge.as_str()].into_iter()), None);
        assert_eq!(sum([format!("0.{}", "1".repeat(50)).as_str(), "1"].into_iter()), None);
    }
}
