//! A row of bars, one character each.

/// From the lowest bar above nothing to the highest.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Nothing at all, which is not the same as little.
const NOTHING: char = '·';

/// Bars of `values`, the highest of which fills its character.
pub(super) fn sparkline(values: &[u32]) -> String {
    let highest = values.iter().copied().max().unwrap_or(0).max(1);
    values.iter().map(|value| bar(*value, highest)).collect()
}

fn bar(value: u32, highest: u32) -> char {
    if value == 0 {
        return NOTHING;
    }
    let eighths = (u64::from(value) * BARS.len() as u64).div_ceil(u64::from(highest));
    BARS[usize::try_from(eighths).map_or(BARS.len(), |bar| bar.clamp(1, BARS.len())) - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_little_and_most_are_told_apart() {
        assert_eq!(sparkline(&[0, 1, 400, 800]), "·▁▄█");
        assert_eq!(sparkline(&[0, 1, 0]), "·█·");
        assert_eq!(sparkline(&[0, 0]), "··");
        assert_eq!(sparkline(&[]), "");
        assert_eq!(sparkline(&[u32::MAX, 1]), "█▁");
    }
}
