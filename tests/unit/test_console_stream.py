"""How the monitor's page follows a stream: what it asks for after a break, and what it says meanwhile."""

import json
from random import Random
from typing import Any

import pytest

from console_modules import evaluated
from rotary.domain.monitor import Monitor, MonitorMember
from rotary.http.responses import success
from rotary_query.http.schemas import encode_monitor
from rotary_query.http.sse_deltas import DeltaLog

# Answers requests with what is given, in turn, and then never; follows until all was asked for, and one request more.
FOLLOWED = """await (async () => {
  const asked = [], said = [], answers = [...given];
  const reader = {
    expiresAt: Date.now() + 600_000,
    async fetch(path, { headers }) {
      asked.push([path.split("?")[1] ?? "", headers["Last-Event-ID"] ?? null]);
      if (!answers.length) return new Promise(() => {});
      const { status = 200, text } = answers.shift();
      return new Response(text, { status, headers: { "Retry-After": "0.1" } });
    },
  };
  const live = new LiveGroup(reader, 3);
  live.status.watch(({ kind, reason }) => said.at(-1)?.[0] === kind || said.push([kind, reason]));
  live.start();
  const wanted = given.length + (given.at(-1).status === 404 ? 0 : 1);
  while (asked.length < wanted) await new Promise((resolve) => setTimeout(resolve, 10));
  await new Promise((resolve) => setTimeout(resolve, 10));
  live.stop();
  return { asked, said, members: [...live.state.members.keys()], seq: live.state.seq };
})()"""
STALE = 'event: stale\ndata: {"since":"2026-06-06T12:00:00Z","reason":"Redis is away"}\n\n'


def followed(*answers: dict[str, Any]) -> Any:
    """What the page asked and said. Any: JSON."""
    return evaluated(FOLLOWED, list(answers), "{ LiveGroup } from live/live_group.js")


class Service:
    """A group whose members are numbered, as the service tells it."""

    def __init__(self) -> None:
        self.log = DeltaLog(40)
        self._rng = Random(1)

    def shows(self, *callers: int) -> None:
        members = [
            MonitorMember(caller, "0901", "viettel", "eligible", self._rng.randrange(101), 0, 9, None)
            for caller in callers
        ]
        self.log.advance(success(encode_monitor(Monitor(3, "Sales", len(callers), len(callers), 0, 0, members))))

    def told(self, known: int | None = None) -> str:
        return self.log.event(known).decode()


@pytest.fixture
def service() -> Service:
    made = Service()
    made.shows(1, 2)
    return made


def test_a_stream_that_breaks_is_continued_from_the_last_event(service: Service) -> None:
    first = service.told()
    service.shows(1, 2, 3)
    done = followed({"text": first}, {"text": service.told(41)})
    assert done["asked"] == [["deltas=1", None], ["deltas=1", "41"], ["deltas=1", "42"]]
    assert (done["members"], done["seq"]) == ([1, 2, 3], 42)


def test_a_delta_that_does_not_fit_is_answered_with_a_new_snapshot(service: Service) -> None:
    first = service.told()
    service.shows(1, 2, 3)
    broken = service.told(41).replace('"checksum":', '"checksum":1')
    done = followed({"text": first + broken}, {"text": service.told()})
    assert done["asked"][1] == ["deltas=1", None]
    assert done["members"] == [1, 2, 3]


def test_deltas_that_never_fit_are_given_up_for_whole_snapshots(service: Service) -> None:
    first = service.told()
    service.shows(1, 2, 3)
    broken = {"text": first + service.told(41).replace('"from":', '"from":1')}
    plain = {"text": f'event: snapshot\nid: "x"\ndata: {json.dumps({"data": {"members": [], "total_members": 0}})}\n\n'}
    done = followed(broken, broken, broken, plain)
    assert [asked[0] for asked in done["asked"]] == ["deltas=1"] * 3 + ["", ""]
    assert done["members"] == []


def test_facts_that_are_not_current_are_never_called_live(service: Service) -> None:
    done = followed({"text": service.told() + STALE})
    assert done["said"][0] == ["stale", "Redis is away"]


def test_an_outage_is_told_with_the_services_words_and_ends_by_itself(service: Service) -> None:
    away = {"status": 503, "text": json.dumps({"message": "Redis is away"})}
    done = followed(away, {"text": service.told()})
    assert done["said"] == [["reconnecting", "Redis is away"], ["live", ""]]


def test_a_group_that_is_gone_is_not_asked_for_again(service: Service) -> None:
    done = followed({"text": service.told()}, {"status": 404, "text": json.dumps({"message": "Pool not found."})})
    assert done["said"][-1] == ["ended", "Pool not found."]
    assert len(done["asked"]) == 2
