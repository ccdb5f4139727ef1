// Command example is a framework: it runs a command five times, wherever there is room.
package main

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/mesita/mesita/api/client"
	"github.com/mesita/mesita/api/client/framework"
)

func main() {
	ctx, done := context.WithCancel(context.Background())
	started, ended := 0, 0
	f := &framework.Framework{Name: "example"}
	f.Offer = func(o *framework.Offer) {
		hello := []string{"/bin/echo", "hello"}
		t := framework.Task{CPUs: 0.1, Mem: 32 << 20, Command: hello}
		for ; started < 5; started++ {
			t.ID = fmt.Sprint("hello-", started)
			if !o.Launch(t) {
				return // there is no more room in this offer
			}
		}
	}
	f.Update = func(u framework.Update) {
		fmt.Println(u.Task, u.State)
		if u.Ended() {
			ended++
		}
		if ended == 5 {
			done()
		}
	}
	c, err := client.New(client.Config{Socket: os.Getenv("MESITA_SOCKET")})
	if err == nil {
		err = f.Run(ctx, c)
	}
	if err != nil {
		log.Fatal(err)
	}
}
