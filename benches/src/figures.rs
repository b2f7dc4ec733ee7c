//! Figures out of a noisy machine.

/// The middle one of `values`, or of its two middle ones the greater.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The least of `values`.
pub fn least(values: impl IntoIterator<Item = f64>) -> f64 {
    values.into_iter().fold(f64::INFINITY, f64::min)
}

/// The median over rounds of `own / other`: both were measured in the same round, so what slowed
/// down one slowed down the other.
pub fn ratio(own: &[f64], other: &[f64]) -> f64 {
    median(own.iter().zip(other).map(|(own, other)| own / other))
}

/// The value of `--name N` among the arguments, `default` where there is none.
///
/// # Errors
/// What is wrong with the value.
pub fn option(arguments: &[String], name: &str, default: u64) -> Result<u64, String> {
    let Some(at) = arguments.iter().position(|argument| argument == name) else {
        return Ok(default);
    };
    let value = arguments.get(at + 1).map_or("", String::as_str);
    value
        .parse()
        .map_err(|_| format!("{name} takes a number, not {value:?}"))
}
