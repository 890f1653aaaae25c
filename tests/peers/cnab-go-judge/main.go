// cnab-go-judge lets the CNAB reference library judge a bundle and carry out an action.
//
//	cnab-go-judge DRIVER ACTION BUNDLE.json [RELOCATION.json|-] [NAME=JSON...]
//
// DRIVER `debug` prints the operation (environment, files, outputs) that the library works out, one JSON object; `docker`
// runs the invocation image in the engine of DOCKER_HOST. The rest are parameters. Exit code 0 when the library accepts the
// bundle and the action succeeds, else 1 with its words.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/cnabio/cnab-go/action"
	"github.com/cnabio/cnab-go/bundle"
	"github.com/cnabio/cnab-go/claim"
	"github.com/cnabio/cnab-go/driver"
	"github.com/cnabio/cnab-go/driver/lookup"
	"github.com/cnabio/cnab-go/valuesource"
)

func main() {
	if err := judge(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "cnab-go:", err)
		os.Exit(1)
	}
}

func judge(args []string) error {
	if len(args) < 3 {
		return fmt.Errorf("usage: cnab-go-judge DRIVER ACTION BUNDLE.json [RELOCATION.json|-] [NAME=JSON...]")
	}
	text, err := os.ReadFile(args[2])
	if err != nil {
		return err
	}
	bun, err := bundle.Unmarshal(text)
	if err != nil {
		return fmt.Errorf("reading the bundle: %w", err)
	}
	if err := bun.Validate(); err != nil {
		return fmt.Errorf("validating the bundle: %w", err)
	}
	values, err := parameters(args[3:], *bun)
	if err != nil {
		return err
	}
	cl, err := claim.New("judged", args[1], *bun, values)
	if err != nil {
		return fmt.Errorf("making a claim: %w", err)
	}
	run, err := lookup.Lookup(args[0])
	if err != nil {
		return err
	}
	if set, ok := run.(driver.Configurable); ok {
		if err := set.SetConfig(map[string]string{"CLEANUP_CONTAINERS": "true", "PULL_ALWAYS": "1"}); err != nil {
			return err
		}
	}
	relocate := func(op *driver.Operation) error { return nil }
	if len(args) > 3 && args[3] != "-" {
		relocate = relocation(args[3])
	}
	outcome, _, err := action.New(run).Run(context.Background(), cl, valuesource.Set{}, relocate)
	if err != nil {
		return fmt.Errorf("running %s: %w", args[1], err)
	}
	return outcome.Error
}

// parameters reads NAME=JSON words and fills in the defaults.
func parameters(words []string, bun bundle.Bundle) (map[string]interface{}, error) {
	given := map[string]interface{}{}
	for _, word := range words {
		name, text, found := strings.Cut(word, "=")
		if !found {
			continue
		}
		var value interface{}
		if err := json.Unmarshal([]byte(text), &value); err != nil {
			return nil, fmt.Errorf("parameter %s: %w", name, err)
		}
		given[name] = value
	}
	return bundle.ValuesOrDefaults(given, &bun, "install")
}

// relocation replaces the image by the one that a relocation map names for it.
func relocation(path string) configure {
	return func(op *driver.Operation) error {
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		moved := map[string]string{}
		if err := json.Unmarshal(text, &moved); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		op.Files["/cnab/app/relocation-mapping.json"] = string(text)
		if image, found := moved[op.Image.Image]; found {
			op.Image.Image = image
		}
		return nil
	}
}

type configure = func(op *driver.Operation) error
