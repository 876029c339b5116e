//! Asks a skd, and adds what it tells to what it has told.

use crate::arguments::Target;
use crate::fetch;
use crate::figures::History;
use crate::model::text::foreign;
use crate::scrape;
use std::time::{Duration, Instant};

/// How often it is asked.
pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// Asks once. Without an answer all is forgotten, for the next one may be another skd's.
///
/// # Errors
/// Why there is no answer, in harmless words.
pub(crate) fn ask(target: &Target, history: &mut History) -> Result<(), String> {
    let answer = fetch::metrics(&target.place).and_then(|text| {
        scrape::read(&text).ok_or_else(|| "the answer holds no metrics of skd".to_owned())
    });
    match answer {
        Ok(scrape) => {
            history.add(Instant::now(), scrape);
            Ok(())
        }
        Err(reason) => {
            history.forget();
            Err(foreign(reason.as_bytes()))
        }
    }
}
