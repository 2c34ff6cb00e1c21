"""TextArena's games that need no network, as AEC environments with texts in and out."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Callable
from typing import Any

from gymnasium.spaces import Space
from pettingzoo import AECEnv

from ...errors import InfraError, one_of
from ...text.base import whole
from ...text.render import draw
from ...text.spaces import Unicode
from ..base import MODES
from .foreign import Adapter, built, by_turns, needs

_MOVES = re.compile(r"(?:available|valid|legal|possible) (?:moves|actions|options)?[^\n:]*:(.*)", re.I)
_MOVE = re.compile(r"\[[^\[\]\n]{1,40}\]")
_WORDS = "it reads lists of words that NLTK downloads, and none are here: python -m nltk.downloader words"
_KEY = "a language model plays or judges, through OpenRouter and with a key"
_ABSENT = "its texts or its code are not in TextArena's package"
READS_WORDS = frozenset(
    "Codenames DontSayIt Hangman LetterAuction SpellingBee WordChains WordLadder WordSearch Wordle".split()
)
REFUSED = {  # by the folder of the game, beside those that cannot be imported on this Python
    "SettlersOfCatan": "its board follows the order of a set, which changes from process to process",
    "SpiteAndMalice": "it cannot be started with TextArena 0.7.4",
    "BabyAiText": "it needs gym, which is no longer kept up",
    **dict.fromkeys(("UsedCarNegotiation", "UsedCar", "ScorableGames"), _ABSENT),
    **dict.fromkeys(("Debate", "GuessWho", "ScenarioPlanning", "TwentyQuestions"), _KEY),
}


class Arena(AECEnv):  # type: ignore[misc]
    """A game of TextArena (Guertler et al. 2025, arXiv 2504.11442).

    Agents are ``player_0``, ``player_1`` ... Who is to act says a text, such as ``[4]``; brackets are added where the
    game's own wrapper adds them. The observation is all that the player was told so far, the prompt first; what is longer
    than ``max_length`` loses its middle. Rewards come at the end, as the game has them. A player's first illegal move is
    answered in the game, with ``valid_action = False``; what the next costs is the game's rule. ``admissible_actions``
    are the moves that the player's last messages list in brackets, if they do. The game is truncated after ``max_steps``
    moves. A game that raises is truncated for all with ``info["invalid"]``.

    Args:
        make: gives the game.
        name: its id.
        players: how many play.
        max_steps: moves at most.
        max_length: characters of an observation.
        render_mode: None, ``ansi``, ``human`` or ``rgb_array``.
    """

    def __init__(
        self, make: Callable[[], Any], name: str, players: int, max_steps: int, max_length: int, render_mode: str | None
    ) -> None:
        super().__init__()
        self._game, self._limit, self._length = make(), max_steps, max_length
        self.render_mode = render_mode
        self.metadata = {"name": name, "render_modes": list(MODES), "render_fps": 4, "is_parallelizable": False}
        self.possible_agents = [f"player_{k}" for k in range(players)]
        self.agents: list[str] = []
        self._spaces = {a: (Unicode(max_length), Unicode(max_length)) for a in self.possible_agents}
        self.infra_failures = 0

    def observation_space(self, agent: str) -> Space[Any]:
        """The same object at every call."""
        return self._spaces[agent][0]

    def action_space(self, agent: str) -> Space[Any]:
        """The same object at every call."""
        return self._spaces[agent][1]

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> None:
        """A new game.

        Raises:
            InfraError: the game could not be started.
        """
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                self._game.reset(num_players=len(self.possible_agents), seed=seed)
        except Exception as e:
            raise InfraError(f"{self} could not be started: {type(e).__name__}: {e}") from e
        self.agents = list(self.possible_agents)
        self._moves, self._heard = 0, {a: list[str]() for a in self.agents}
        self._new, self._chat = {a: list[str]() for a in self.agents}, dict[str, str]()
        self.rewards = dict.fromkeys(self.agents, 0.0)
        self._cumulative_rewards = dict.fromkeys(self.agents, 0.0)
        self.terminations, self.truncations = dict.fromkeys(self.agents, False), dict.fromkeys(self.agents, False)
        self._listen()
        self.agent_selection = self._turn()
        self._tell({})

    def _turn(self) -> str:
        return self.possible_agents[int(self._game.state.current_player_id) % len(self.possible_agents)]

    def _listen(self) -> None:
        """Takes the messages that players have not been given yet."""
        state = self._game.state
        for k, agent in enumerate(self.possible_agents):
            new = [(state.role_mapping.get(who, f"Player {who}"), str(text)) for who, text, _ in state.observations[k]]
            state.observations[k] = []
            said = [f"[{'GAME' if who == 'GAME' else who}] {text}" for who, text in new]
            if said:
                self._new[agent] = [text.encode(errors="replace").decode() for text in said]
                self._heard[agent] += self._new[agent]

    def _tell(self, beside: dict[str, dict[str, Any]]) -> None:
        self.infos = {}
        for a in self.agents:
            turn = a == self.agent_selection and not (self.terminations[a] or self.truncations[a])
            said = ({"role": "assistant", "content": self._chat[a]},) if a in self._chat else ()
            new = "\n".join(self._new[a])
            info: dict[str, Any] = {"messages": (*said, {"role": "user", "content": new}), "message": ""}
            info["admissible_actions"] = self._listed(a) if turn else ()
            self.infos[a] = info | beside.get(a, {})

    def _listed(self, agent: str) -> tuple[str, ...]:
        lists = [m for text in self._new[agent] for m in _MOVES.findall(text)]
        return tuple(dict.fromkeys(_MOVE.findall(lists[-1]))) if lists else ()

    def observe(self, agent: str) -> str:
        """All that the player was told so far."""
        text = "\n".join(self._heard[agent])
        if len(text) <= self._length:
            return text
        cut = "\n[...]\n"
        half = (self._length - len(cut)) // 2
        return text[:half] + cut + text[len(text) - half :]

    def step(self, action: Any) -> None:
        """The selected player moves; one that is finished takes its one step with None.

        Raises:
            TypeError: the action is no text.
        """
        agent = self.agent_selection
        if self.terminations[agent] or self.truncations[agent]:
            self._was_dead_step(action)
            return
        if not isinstance(action, str):
            raise TypeError(f"an action is a string, not {type(action).__name__}")
        words = action[: self._length].encode(errors="replace").decode()
        state, mine = self._game.state, self.possible_agents.index(agent)
        before = state.error_count
        self._cumulative_rewards[agent], self.rewards = 0.0, dict.fromkeys(self.agents, 0.0)
        self._moves, self._chat[agent] = self._moves + 1, words
        beside: dict[str, dict[str, Any]] = {}
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                done, _ = self._game.step(action=words)
                rewards = self._game.close()[0] if done else None
            paid = {int(k): float(r) for k, r in (rewards or {}).items()}
            self._listen()
            self.agent_selection = self._turn()
        except Exception as e:  # not the player's fault, whatever it said
            self.infra_failures += 1
            lost = {"invalid": True, "infra_error": f"{self}: {type(e).__name__}: {e}", "valid_action": False}
            beside, done = {a: dict(lost) for a in self.agents}, False
            self.truncations = dict.fromkeys(self.agents, True)
        else:
            wrong = state.error_count > before or bool(state.game_info[mine].get("invalid_move"))
            beside[agent] = {"valid_action": not wrong}
        if done:
            self.terminations = dict.fromkeys(self.agents, True)
            self.rewards = {a: paid.get(self.possible_agents.index(a), 0.0) for a in self.agents}
        elif self._moves >= self._limit:
            self.truncations = dict.fromkeys(self.agents, True)
        self._accumulate_rewards()
        self._tell(beside)
        if self.render_mode == "human":
            self.render()

    def render(self) -> Any:
        """What all players were told, as text, on the terminal, or drawn."""
        if self.render_mode is None:
            return None
        text = "\n\n".join(f"[{a}]\n" + self.observe(a) for a in self.possible_agents)
        if self.render_mode == "ansi":
            return text
        if self.render_mode == "human":
            print(text, end="\n\n", flush=True)
            return None
        return draw(text)

    def close(self) -> None:
        """Nothing is held open."""


def offered() -> list[str]:
    """Ids that TextArena registers, in its plain form."""
    from textarena.envs.registration import ENV_REGISTRY

    return sorted(i for i in ENV_REGISTRY if not i.endswith(("-raw", "-train")))


def textarena(
    id: str, *, players: int | None = None, max_steps: int = 200, max_length: int = 16384, **settings: Any
) -> Adapter:
    """A game of TextArena under the info contract, see ``Arena``: texts in, texts out, rewards at the end.

    ``success`` at the end: the player's reward is more than nothing and nobody's is more; of one player alone, that it is
    1.0. These are played without a network, by their first ids, and tested: TicTacToe-v0, ConnectFour-v0, Nim-v0,
    KuhnPoker-v0, LiarsDice-v0, IteratedPrisonersDilemma-v0, SimpleNegotiation-v0, Othello-v0, Breakthrough-v0,
    Chopsticks-v0, PigDice-v0, UltimateTicTacToe-v0, Poker-v0, SecretMafia-v0, Sudoku-v0, TowerOfHanoi-v0; most others
    work too. Those are refused that need a download, a key, or cannot be loaded.

    Args:
        id: TextArena's, such as ``TicTacToe-v0``.
        players: how many play; None for two, else the fewest that the game takes.
        max_steps: moves after which the game is truncated.
        max_length: characters of an observation.
        **settings: of the game.

    Raises:
        ValueError: there is no such game, or it cannot be played here; says why.
        ModuleNotFoundError: TextArena is not installed.
    """
    needs("textarena", "'textarena>=0.7.4'", "a game of TextArena")
    if id not in offered():
        raise one_of("a game of TextArena", id, offered())
    max_steps, max_length = whole("max_steps", max_steps, 1), whole("max_length", max_length, 256)
    number = players_of(id, settings, None if players is None else whole("players", players, 1, 20))

    def raw(render_mode: str | None = None) -> Arena:
        if render_mode is not None and render_mode not in MODES:
            raise one_of("render_mode", render_mode, MODES)
        return Arena(lambda: _loaded(id, settings), id, number, max_steps, max_length, render_mode)

    def won(agent: str, returns: Any) -> bool:
        mine = returns[agent]
        return bool(mine >= 1.0 if number == 1 else mine > 0 and mine == max(returns.values()))

    def env(render_mode: str | None = None) -> Any:
        from pettingzoo.utils.wrappers import OrderEnforcingWrapper

        return built(lambda: OrderEnforcingWrapper(raw(render_mode)), id, won=won)

    def parallel_env(render_mode: str | None = None) -> Any:
        return built(lambda: by_turns(raw(render_mode)), id, won=won)

    return Adapter(env, parallel_env)


def _loaded(id: str, settings: dict[str, Any]) -> Any:
    """The game.

    Raises:
        ValueError: it cannot be played here; says why.
    """
    import textarena as library
    from textarena.envs.registration import ENV_REGISTRY

    kind = str(ENV_REGISTRY[id].entry_point).split(".")[2]
    if why := REFUSED.get(kind):
        raise ValueError(f"{id} cannot be played here: {why}")
    if kind in READS_WORDS and not _has_words():  # else its constructor would try to download them
        raise ValueError(f"{id} cannot be played here: {_WORDS}")
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            return library.make(id, **settings)
    except SyntaxError as e:
        why = f"TextArena 0.7.4 wrote it for Python 3.12: {e}"
    except Exception as e:  # whatever a game's constructor does
        why = f"{type(e).__name__}: {e}"
    raise ValueError(f"{id} cannot be played here: {why}")


def _has_words() -> bool:
    import nltk

    try:
        nltk.data.find("corpora/words")
    except LookupError:
        return False
    return True


def players_of(id: str, settings: dict[str, Any], wanted: int | None) -> int:
    """How many play.

    Raises:
        ValueError: the game does not take so many, or cannot be played here; says why.
    """
    from .aside import Aside

    tried: list[str] = []
    with Aside()(0):
        for number in [2, 1, *range(3, 21)] if wanted is None else [wanted]:
            game = _loaded(id, settings)
            try:
                with contextlib.redirect_stdout(io.StringIO()):
                    game.reset(num_players=number, seed=0)
                return number
            except Exception as e:  # an assertion, mostly
                tried.append(str(e) or type(e).__name__)
    raise ValueError(f"players is {wanted!r}; {id} does not take it: {tried[-1][:200]}")
