"""Two container components on busybox: small enough to be built, moved and run hundreds of times by the tests."""

from typing import NamedTuple

from kfp import dsl

BUSYBOX = "busybox:1"


@dsl.container_component
def greet(who: str, times: int, greeting: dsl.OutputPath(str), words: dsl.Output[dsl.Dataset]):
    script = 'mkdir -p "$(dirname "$2")" "$(dirname "$3")"; printf "hello %s" "$0" > "$2"; i=0; while [ $i -lt $1 ]; do echo "$i $0"; i=$((i+1)); done > "$3"'
    return dsl.ContainerSpec(image=BUSYBOX, command=["sh", "-c", script], args=[who, times, greeting, words.path])


@dsl.container_component
def shout(words: dsl.Input[dsl.Dataset], loud: dsl.Output[dsl.Dataset]):
    script = 'mkdir -p "$(dirname "$1")"; tr a-z A-Z < "$0" > "$1"; echo "shouted $(wc -l < "$1") lines"'
    return dsl.ContainerSpec(image=BUSYBOX, command=["sh", "-c", script], args=[words.path, loud.path])


class Said(NamedTuple):
    greeting: str
    loud: dsl.Dataset


@dsl.pipeline(name="greet", description="Say hello, then louder.")
def pipeline(who: str = "world", times: int = 3) -> Said:
    said = greet(who=who, times=times)
    louder = shout(words=said.outputs["words"])
    return Said(greeting=said.outputs["greeting"], loud=louder.outputs["loud"])
