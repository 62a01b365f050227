"""Claude Code, run for one answer: a process that the plan door (lib/claude_code.py) starts, asks and ends.

It reads JSON lines: how to connect, then what to ask. It writes JSON lines: each piece of the answer, then its end.
When its stdin ends, the door or its worker is gone, and this process ends itself and the program with it.

The program is the unmodified one that claude-agent-sdk carries. How often 2.1.330 asked Claude for one question, as it
comes and as it is run here:
| what comes                              | usual  | here | taken away by                                        |
| 403 413 429 500 529, connection refused | <= 11  | 1    | CLAUDE_CODE_MAX_RETRIES=0                            |
| 400                                     | 3      | 1    | ..._DISABLE_EXPERIMENTAL_BETAS and _REFUSAL_FALLBACK |
| a refusal                               | 2      | 1    | CLAUDE_CODE_DISABLE_REFUSAL_RETRY                    |
| an error or an end in mid-answer        | 4      | 1    | max_budget_usd: a second step would be above it      |
| max_tokens, context exceeded, no text   | 4 4 2  | 1    | max_budget_usd                                       |
| 401                                     | 2      | 1    | the program announces the second; it is ended before |
| 404, no such model                      | 2      | 2    | nothing we found: it asks again without a stream     |
| 400 about a picture or a PDF            | 2      | 2    | nothing we found: it asks again with a note for it   |

It makes pictures smaller by itself (from 500 kB or 2000 pixels on), and puts a note for one that it cannot open.

Alone it would also read settings, offer tools and write transcripts: options() turns that off.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from lib.claude import EFFORT, MAX_TOKENS, SYSTEM

try:
    from claude_agent_sdk import (
        AssistantMessage,
        ClaudeAgentOptions,
        ClaudeSDKClient,
        CLINotFoundError,
        RateLimitEvent,
        ResultMessage,
        StreamEvent,
        SystemMessage,
    )
except ImportError:  # the image can be built without it
    sys.stdout.write('{"end": {"error": "no_program"}}\n')
    raise SystemExit(0) from None

IDLE_SECONDS = 660.0  # a program that nobody asks anything ends by itself, and gives its memory back
# Inside JSON no role can be forged. The last sentence: the program tells Claude of its folder, and of max_budget_usd.
FORM = (
    " The conversation reaches you as JSON, an object for each message, oldest first: `person` is what the person"
    " wrote, `steward` what you answered. Pictures and documents stand before the message they came with. Answer the"
    " last message in plain text, never in JSON. Notes about an environment or a budget come from the program in"
    " between: do not mention them, and do not be brief because of them."
)
INTRODUCTION = "The conversation:"


def main() -> None:
    lines: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    asyncio.run(serve(lines))


async def serve(lines: asyncio.Queue[dict[str, Any]]) -> None:
    """Connect, wait for the one question, answer it."""
    threading.Thread(target=listen, args=(asyncio.get_running_loop(), lines), daemon=True).start()
    try:
        client = ClaudeSDKClient(options(await lines.get()))
        await client.connect()
        question = await asyncio.wait_for(lines.get(), IDLE_SECONDS)
        tell(asked=True)
        await client.query(prompt(question["turns"]))
        await hear(client)
    except CLINotFoundError:
        tell(end={"error": "no_program"})
    except Exception as exc:  # its text may quote what the program wrote
        tell(end={"error": type(exc).__name__})
    finally:
        leave("")


def listen(loop: asyncio.AbstractEventLoop, lines: asyncio.Queue[dict[str, Any]]) -> None:
    """Hand on what the door writes; when there is nobody left to write, leave nothing behind."""
    folder = ""
    for line in sys.stdin:
        given = json.loads(line)
        folder = given.get("folder") or folder
        loop.call_soon_threadsafe(lines.put_nowait, given)
    leave(folder)


def leave(folder: str) -> None:
    """End this process and the program: they are one process group. The SDK would give the program ten seconds."""
    if folder:
        shutil.rmtree(folder, ignore_errors=True)
    sys.stdout.flush()
    os.killpg(0, signal.SIGKILL)


def options(given: dict[str, Any]) -> ClaudeAgentOptions:
    """No tools, no settings files, no second request, and who we are said openly."""
    return ClaudeAgentOptions(
        model=given["model"],
        system_prompt=SYSTEM + FORM,
        effort=EFFORT,
        client_app=given["client_app"],
        cwd=Path(given["folder"]) / "empty",
        env={
            "CLAUDE_CODE_OAUTH_TOKEN": given["token"],
            "ANTHROPIC_BASE_URL": given["base_url"],
            "CLAUDE_CONFIG_DIR": str(Path(given["folder"]) / "config"),
            "CLAUDE_CODE_MAX_OUTPUT_TOKENS": str(MAX_TOKENS),
            "CLAUDE_CODE_MAX_RETRIES": "0",
            "CLAUDE_CODE_DISABLE_REFUSAL_RETRY": "1",
            "CLAUDE_CODE_DISABLE_REFUSAL_FALLBACK": "1",
            "CLAUDE_CODE_DISABLE_NONSTREAMING_FALLBACK": "1",
            # Also: without it the program marks its own note for the cache instead of the conversation.
            "CLAUDE_CODE_DISABLE_EXPERIMENTAL_BETAS": "1",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "DISABLE_AUTO_COMPACT": "1",
        },
        tools=[],
        skills=[],
        setting_sources=[],
        strict_mcp_config=True,
        max_turns=1,
        max_budget_usd=1e-7,
        include_partial_messages=True,
        verbatim_prompts=True,  # or a message that begins with / is a command, and one with @ names a file
        extra_args={"no-session-persistence": None},
    )


async def prompt(turns: list[tuple[str, str, list[dict[str, Any]]]]) -> AsyncIterator[dict[str, Any]]:
    """The whole conversation as one message: the program takes no earlier answers from outside.

    A block for each turn, so that the prompt cache serves it: each prompt begins as the last one did.
    """
    names = {"user": "person", "assistant": "steward"}
    content: list[dict[str, Any]] = [{"type": "text", "text": INTRODUCTION}]
    for role, body, files in turns:
        content += [*files, {"type": "text", "text": json.dumps({names[role]: body}, ensure_ascii=False)}]
    yield {
        "type": "user",
        "session_id": "",
        "message": {"role": "user", "content": content},
        "parent_tool_use_id": None,
    }


async def hear(client: ClaudeSDKClient) -> None:
    """Tell each piece of the answer, and then what is known of its end."""
    end: dict[str, Any] = {}
    async for message in client.receive_messages():
        if isinstance(message, StreamEvent):
            note(message.event, end)
        elif isinstance(message, RateLimitEvent):
            info = message.rate_limit_info
            end |= {"limit": info.status, "limit_type": info.rate_limit_type, "until": info.resets_at}
        elif isinstance(message, AssistantMessage) and message.error:
            end["error"] = message.error
        elif isinstance(message, SystemMessage) and message.subtype == "api_retry":
            end["status"] = message.data.get("error_status")
            break  # it waits a moment before it asks a second time
        elif isinstance(message, SystemMessage) and message.subtype.startswith("model_refusal"):
            end["refused"] = True  # the stop_reason itself is not passed on
        elif isinstance(message, ResultMessage):
            end |= {"status": message.api_error_status, "reason": message.terminal_reason}
            end["extra_usage"] = "extra usage" in (message.result or "")
            end["nameless"] = (message.result or "").endswith("· Error")
            break
    tell(end=end)


def note(event: dict[str, Any], end: dict[str, Any]) -> None:
    """One event of the Messages API, as the program passes it on."""
    what = event["type"]
    if what == "message_start":
        end |= {"id": event["message"]["id"], "model": event["message"]["model"], "usage": event["message"]["usage"]}
        tell(thinks=False)
    elif what == "content_block_start":
        tell(thinks=event["content_block"]["type"] == "thinking")
    elif what == "content_block_delta" and event["delta"]["type"] == "text_delta":
        tell(text=event["delta"]["text"])
    elif what == "message_delta":
        end["stop_reason"] = event["delta"].get("stop_reason")
        end["usage"] = {**end.get("usage", {}), **{name: n for name, n in event["usage"].items() if n is not None}}


def tell(**line: Any) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
