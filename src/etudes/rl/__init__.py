"""Reinforcement learning: games, a replay memory, targets and exploration of deep Q-learning.

A game follows gymnasium's interface: `reset(seed=..)` is (frame, facts), `step(action)` is (frame, reward, over, cut,
facts). `over`: the episode has ended, so nothing more is to be had; `cut`: its time is up, though the game would go on.
"""
