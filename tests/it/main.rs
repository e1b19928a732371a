mod api_door;
mod bad_luck;
mod crash;
mod process;
mod roles;

fn main() {}
