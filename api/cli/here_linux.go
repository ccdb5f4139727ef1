package cli

func (a *app) here() here {
	return here{
		dev: a.dev, start: a.startNode, join: a.joinNode, stop: a.stopNode, restart: a.restartNode,
		config: a.configureNode, install: a.installNode, recover: a.recoverCluster, keeper: a.keep, fetch: a.fetch,
	}
}
