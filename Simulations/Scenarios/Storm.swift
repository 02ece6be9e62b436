internal import Gossip

/// One to seven peers in weather drawn from the seed: cuts of every shape, crashes, leaves, pauses, wrong clocks, loss.
/// Then quiet.
struct Storm: Scenario {
    static let name = "storm"
    static let promise = "Whatever the weather, safety holds in it and all are equal soon after it."

    private(set) var weather = Plan()

    mutating func prepare(seed: UInt64, keep: Plan?) { weather = keep ?? Plan(seed: seed) }

    var plan: Plan? { weather }

    func options(_ dice: inout Dice) -> Options { weather.options }

    func run(_ cluster: Cluster) throws(Violation) {
        try cluster.play(weather)
        try cluster.becomesWhole(trustMs: 30_000, eventsMs: 30_000 + weather.clockSpreadMs)
        try cluster.finally()
        try cluster.forgets(withinMs: 60_000 + weather.clockSpreadMs)
    }
}
