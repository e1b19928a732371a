mod api_door;

fn main() {}
