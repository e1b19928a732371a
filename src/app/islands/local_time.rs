//! An instant outside of a live part.

use leptos::prelude::*;

use crate::app::model::Moment;
use crate::app::views::{Clock, time, use_zone};

#[island]
pub fn LocalTime(moment: Moment) -> impl IntoView {
    let zone = use_zone();
    move || time(moment.clone(), zone.get(), Clock::Date)
}
