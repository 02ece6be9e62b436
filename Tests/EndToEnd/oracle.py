"""What one broker would have computed: the signals as a fold over the stored events, in one process.

Written from the formulas alone, so that it shares nothing with the program under test. Floats are IEEE doubles in
Python as in Swift, and the operations stand in the same order, so results are compared with `==`.
"""

from datetime import datetime, timezone

CREATES = {"proposal", "ready", "test"}
INITIAL = 0.3
ALPHA = 1.2
LAMBDA = 0.95
GONE = 0.01
TICK_MS = 60_000


def stamp_ms(event: dict) -> int:
    """Unix milliseconds of a stamp: its first 12 hexadecimal digits."""
    return int(event["stamp"][:12], 16)


def iso(ms: int) -> str:
    """ISO 8601 in UTC with milliseconds, as the API writes it."""
    moment = datetime.fromtimestamp(ms // 1_000, timezone.utc)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{ms % 1_000:03d}Z"


def decayed(strength: float, ticks: int, decay: float = LAMBDA) -> float:
    """One multiplication per tick that passed, never a power: pow() may round otherwise. Below 0.01 is 0: gone."""
    for _ in range(ticks):
        strength *= decay
        if strength < GONE:
            return 0.0
    return strength


def signals(events, at: int, decay: float = LAMBDA) -> dict[tuple[str, str], tuple[float, int]]:
    """(scope, pattern) → (strength at `at`, milliseconds of the last touch), for every signal that is not gone.

    A reading at a moment counts what happened up to it.
    """
    found: dict[tuple[str, str], tuple[float, int]] = {}
    for event in sorted(events, key=lambda event: event["stamp"]):
        moment = stamp_ms(event)
        if moment > at:
            break
        for pattern in event["signals"]:
            key = (event["scope"], pattern)
            strength = None
            if key in found:
                before, last = found[key]
                strength = decayed(before, moment // TICK_MS - last // TICK_MS, decay) or None
            strength = operation(event, strength)
            if strength is None or strength < GONE:
                found.pop(key, None)
            else:
                found[key] = (strength, moment)
    readings = {key: (decayed(s, at // TICK_MS - last // TICK_MS, decay), last) for key, (s, last) in found.items()}
    return {key: (strength, last) for key, (strength, last) in readings.items() if strength >= GONE}


def operation(event: dict, strength: float | None) -> float | None:
    """One event's effect on one signal, None standing for a signal that is not there."""
    payload = event["payload"]
    if event["type"] in CREATES:
        return INITIAL if strength is None else strength
    if event["type"] == "reward":
        alpha = payload.get("α", payload.get("alpha", ALPHA))
        return min(1.0, (strength or 0.0) + payload["value"] * alpha)
    assert event["type"] == "penalty", event
    return None if strength is None else max(0.0, strength - abs(payload["value"]))


def check(answer: list[dict], events, at: int):
    """Asserts that an `/api/signals?at=` answer is what the oracle folds from the events, to the last digit."""
    expected = signals(events, at)
    actual = {(signal["scope"], signal["pattern"]): signal for signal in answer}
    assert len(actual) == len(answer), "a signal is listed twice"
    missing, beyond = sorted(expected.keys() - actual.keys()), sorted(actual.keys() - expected.keys())
    assert not missing and not beyond, f"missing signals {missing[:5]}, beyond the oracle {beyond[:5]}"
    for key, (strength, last) in expected.items():
        signal = actual[key]
        assert signal["strength"] == strength, f"{key}: {signal['strength']!r}, the oracle says {strength!r}"
        assert signal["last_updated"] == iso(last), f"{key}: {signal['last_updated']}, the oracle says {iso(last)}"
        assert signal["lambda"] == LAMBDA, signal
