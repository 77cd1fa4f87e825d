"""Work that takes time. Here the runner, a run's folder, and one worker module a kind of run (`python -m
m3po.jobs.<kind>`); in packages what is around them: what a run is given (planning), what came of it (results), and
what is made of several (comparing), elsewhere (packs), of data (transfer), and of questions (playground)."""
